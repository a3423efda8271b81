package runner

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxFrame bounds a message between a process and its init. The kernel bounds
// arguments and environment of a program more tightly.
const maxFrame = 64 << 20

// report is what an init tells the process that started it, once, at its end.
type report struct {
	Text   string // what went wrong before the command ran; empty when it ran
	Errno  syscall.Errno
	Code   int // exit code, 128+n for signal n
	Signal int
}

// remoteError is an error that happened in an init. It unwraps to the error
// number, so that errors.Is(err, fs.ErrNotExist) works across the processes.
type remoteError struct {
	text  string
	errno syscall.Errno
}

func (e *remoteError) Error() string { return e.text }

func (e *remoteError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

// failure turns an error of an init into its report.
func failure(err error) report {
	r := report{Text: err.Error(), Code: 125}
	errors.As(err, &r.Errno)
	return r
}

func (r report) err() error {
	if r.Text == "" {
		return nil
	}
	return &remoteError{text: r.Text, errno: r.Errno}
}

// send writes one framed message. Gob, not JSON: arguments, environment and
// paths are bytes, and JSON would mend what is not UTF-8.
func send(w io.Writer, v any) error {
	var b bytes.Buffer
	b.Write(make([]byte, 4))
	if err := gob.NewEncoder(&b).Encode(v); err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	binary.BigEndian.PutUint32(b.Bytes(), uint32(b.Len()-4))
	_, err := w.Write(b.Bytes())
	return err
}

// receive reads one framed message and nothing after it.
func receive(r io.Reader, v any) error {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(n[:])
	if size > maxFrame {
		return fmt.Errorf("a message of %d bytes, allowed are %d", size, maxFrame)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return gob.NewDecoder(bytes.NewReader(b)).Decode(v)
}

// socketPair returns the caller's end and the end for a child. Both are closed
// on exec; the caller closes both.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	// Ours goes through the poller, so that Close ends a Read under way.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "to init"), os.NewFile(uintptr(fds[1]), "to parent"), nil
}
