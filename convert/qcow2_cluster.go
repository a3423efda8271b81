package convert

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/flate"
)

// encoderCost is what one encoder keeps in memory, in bytes, rounded up.
const encoderCost = 6 << 20

// zlibWindow is how far back a match may lie: QEMU opens the stream with a
// window of 12 bits.
const zlibWindow = 4 << 10

// compressor appends p, compressed, to dst.
type compressor interface {
	compress(dst, p []byte) ([]byte, error)
}

// newClusterWork is a worker's part of a qcow2 image: it finds the clusters
// with data and, when asked, compresses them.
func newClusterWork(cluster int, o Options) work {
	if !o.Compress {
		return func(j *job) error { return plainClusters(j, cluster) }
	}
	var c compressor // made with the first job, in the worker
	return func(j *job) (err error) {
		if c == nil {
			if c, err = newCompressor(cluster, o.Format.Compression); err != nil {
				return err
			}
		}
		return compressClusters(j, cluster, c)
	}
}

func plainClusters(j *job, cluster int) error {
	j.parts = j.parts[:0]
	for i := 0; i < len(j.in); i += cluster {
		if !isZero(j.in[i : i+cluster]) {
			j.parts = append(j.parts, part{index: i / cluster, from: i, to: i + cluster})
		}
	}
	return nil
}

func compressClusters(j *job, cluster int, c compressor) error {
	if err := plainClusters(j, cluster); err != nil {
		return err
	}
	j.out = j.out[:0]
	for i := range j.parts {
		p := &j.parts[i]
		from := len(j.out)
		out, err := c.compress(j.out, j.in[p.from:p.to])
		if err != nil {
			return fmt.Errorf("compressing the disk at byte %d: %w", j.off+int64(p.from), err)
		}
		if j.out = out; len(out)-from < cluster {
			p.from, p.to, p.compressed = from, len(out), true
		} else {
			j.out = out[:from]
		}
	}
	return nil
}

func newCompressor(cluster int, kind Compression) (compressor, error) {
	if kind == Zlib {
		return newDeflater()
	}
	return newZstdFrames(cluster), nil
}

// deflater makes one raw deflate stream of each cluster.
type deflater struct {
	buf *bytes.Buffer
	w   *flate.Writer
}

func newDeflater() (*deflater, error) {
	d := &deflater{buf: new(bytes.Buffer)}
	w, err := flate.NewWriterWindow(d.buf, zlibWindow)
	if err != nil {
		return nil, fmt.Errorf("starting deflate: %w", err)
	}
	d.w = w
	return d, nil
}

func (d *deflater) compress(dst, p []byte) ([]byte, error) {
	*d.buf = *bytes.NewBuffer(dst)
	d.w.Reset(d.buf)
	if _, err := d.w.Write(p); err != nil {
		return dst, err
	}
	if err := d.w.Close(); err != nil {
		return dst, err
	}
	return d.buf.Bytes(), nil
}
