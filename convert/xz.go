package convert

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/ulikunitz/xz/lzma"
)

// xzStream writes the xz format (tukaani.org/xz/xz-file-format.txt): one stream of
// blocks, which workers compress beside each other, with sizes in their headers and
// an index at the end. The check is CRC32: Linux knows no other.
type xzStream struct {
	w             io.Writer
	current       *xzBlock
	todo, ordered chan *xzBlock
	running       sync.WaitGroup
	failed        chan struct{} // closed with the first error of writing,
	err           error         // which is this one when nothing runs any more
	index         []byte        // records
	blocks        uint64
	closed        bool
}

type xzBlock struct {
	in, out []byte
	size    uint64 // of header, data and check, without what fills up
	err     error
	done    chan struct{}
}

const (
	xzBlockSize = 8 << 20
	xzDict      = 4 << 20
	xzDictCode  = 20 // of 2^(12+20/2) bytes
)

// xzFlags say that the check is CRC32.
var xzFlags = []byte{0, 1}

func newXz(w io.Writer, workers int) *xzStream {
	z := &xzStream{w: w, todo: make(chan *xzBlock), ordered: make(chan *xzBlock, workers+1), failed: make(chan struct{})}
	for range workers {
		z.running.Go(func() {
			for b := range z.todo {
				b.err = b.compress()
				close(b.done)
			}
		})
	}
	z.running.Go(z.writeOut)
	return z
}

// Write never keeps p.
func (z *xzStream) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if z.current == nil {
			z.current = &xzBlock{done: make(chan struct{})}
		}
		n := min(len(p), xzBlockSize-len(z.current.in))
		z.current.in = append(z.current.in, p[:n]...)
		if p = p[n:]; len(z.current.in) == xzBlockSize {
			z.submit()
		}
		select {
		case <-z.failed:
			return total - len(p), errEarlierWrite
		default:
		}
	}
	return total, nil
}

func (z *xzStream) submit() {
	b := z.current
	z.current = nil
	z.ordered <- b // waits for the writer, which waits for workers only
	z.todo <- b
}

// compress makes the whole block: header, LZMA2 data, fill, check.
func (b *xzBlock) compress() error {
	var data bytes.Buffer
	w, err := lzma.Writer2Config{DictCap: xzDict}.NewWriter2(&data)
	if err == nil {
		_, err = w.Write(b.in)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return fmt.Errorf("compressing with LZMA2: %w", err)
	}
	header := []byte{0, 0xc0} // both sizes are told; one filter
	header = binary.AppendUvarint(header, uint64(data.Len()))
	header = binary.AppendUvarint(header, uint64(len(b.in)))
	header = xzFill(append(header, 0x21, 1, xzDictCode))
	header[0] = byte(len(header) / 4) // with the sum, less one
	b.out = xzSum(header)
	b.out = append(b.out, data.Bytes()...)
	b.size = uint64(len(b.out)) + 4
	b.out = binary.LittleEndian.AppendUint32(xzFill(b.out), crc32.ChecksumIEEE(b.in))
	return nil
}

func xzFill(p []byte) []byte { return append(p, make([]byte, -len(p)&3)...) }

func xzSum(p []byte) []byte { return binary.LittleEndian.AppendUint32(p, crc32.ChecksumIEEE(p)) }

// writeOut writes the stream's header and the blocks, in order.
func (z *xzStream) writeOut() {
	z.write(append([]byte{0xfd, '7', 'z', 'X', 'Z', 0}, xzSum(xzFlags[:2:2])...))
	for b := range z.ordered {
		<-b.done
		if z.err == nil && b.err != nil {
			z.fail(b.err)
		}
		z.write(b.out)
		z.index = binary.AppendUvarint(z.index, b.size)
		z.index = binary.AppendUvarint(z.index, uint64(len(b.in)))
		z.blocks++
	}
}

func (z *xzStream) fail(err error) {
	z.err = err
	close(z.failed)
}

// write is for writeOut, and for Close behind it: nothing is written after an error.
func (z *xzStream) write(p []byte) {
	if z.err != nil {
		return
	}
	if _, err := z.w.Write(p); err != nil {
		z.fail(err)
	}
}

// Close writes the index and the footer.
func (z *xzStream) Close() error {
	if z.closed {
		return errors.New("closing the compressed stream: it is closed already")
	}
	if z.current != nil {
		z.submit()
	}
	close(z.todo)
	close(z.ordered)
	z.closed = true
	z.running.Wait()
	index := xzSum(xzFill(append(binary.AppendUvarint([]byte{0}, z.blocks), z.index...)))
	z.write(index)
	tail := append(binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1)), xzFlags...)
	z.write(append(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(tail)), append(tail, 'Y', 'Z')...))
	if z.err != nil {
		return fmt.Errorf("writing the compressed stream: %w", z.err)
	}
	return nil
}
