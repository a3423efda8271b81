package convert

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
)

// Tar writes the tree at root to w as a PAX archive (POSIX 1003.1-2001): "./"
// first, then each folder before its content, names in the order of their
// bytes, which may be any. Owners are numbers only, times have nanoseconds,
// extended attributes (capabilities among them) are SCHILY.xattr records and
// ACLs SCHILY.acl records, as GNU tar writes them, and of hard links the first
// name holds the content. Sparse files are written with their zeros. Left out
// are sockets, the lost+found in the top folder of a file system, and what is
// no part of an image: the content of proc and sys, of any file system of the
// kernel's that is mounted in the tree, and of a tmpfs mounted on dev or run.
//
// `tar -x -p --acls --xattrs-include=* --numeric-owner` restores all of that.
// Other file systems mounted in the tree are part of it. The tree must not
// change meanwhile: a file that gets shorter is an error. Nothing below root is
// written to, and w is not closed.
func Tar(ctx context.Context, w io.Writer, root string, o TreeOptions) error {
	if err := checkPatterns(o.Exclude); err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<20)
	t := &tarWriter{options: o, tar: tar.NewWriter(out), links: map[inode]string{}}
	if err := t.writeTree(ctx, root); err != nil {
		return err
	}
	if err := t.tar.Close(); err != nil {
		return fmt.Errorf("ending the archive: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	return nil
}

// tarWriter puts entries into the archive, in order.
type tarWriter struct {
	options TreeOptions
	tar     *tar.Writer
	links   map[inode]string // the first name of each file that has several
	buf     []byte
	done    int64
}

// writeTree lets a walker name the entries, workers look at them, and writes
// them in the walker's order. No goroutine is left when it ends.
func (t *tarWriter) writeTree(ctx context.Context, root string) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	const ahead = 128 // entries; each holds at most inlineSize bytes
	todo, ordered := make(chan *treeEntry), make(chan *treeEntry, ahead)
	var walkErr error
	wg.Go(func() {
		defer close(ordered)
		defer close(todo)
		walkErr = t.walker(ctx, root, todo, ordered).walk()
	})
	n := t.options.Workers
	if n <= 0 {
		n = 2 * runtime.GOMAXPROCS(0)
	}
	for range n {
		wg.Go(func() {
			for e := range todo {
				e.err = e.inspect()
				close(e.done)
			}
		})
	}
	var failed error
	for e := range ordered { // to the end, so that every file gets closed
		<-e.done
		if failed == nil {
			if failed = t.writeEntry(ctx, e); failed != nil {
				cancel()
			}
		}
		e.close()
	}
	if failed != nil {
		return failed
	}
	return walkErr
}

func (t *tarWriter) walker(ctx context.Context, root string, todo, ordered chan<- *treeEntry) *walker {
	return &walker{root: root, exclude: t.options.Exclude, found: func(e *treeEntry) error {
		e.done = make(chan struct{})
		select {
		case ordered <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case todo <- e:
			return nil
		case <-ctx.Done():
			e.err = ctx.Err()
			close(e.done)
			return e.err
		}
	}}
}

func (t *tarWriter) writeEntry(ctx context.Context, e *treeEntry) error {
	if e.err != nil {
		return e.err
	}
	h := e.header
	if h == nil {
		if t.options.Logger != nil {
			t.options.Logger.Debug("a socket is left out", "path", e.path)
		}
		return nil
	}
	if !t.options.Time.IsZero() && h.ModTime.After(t.options.Time) {
		h.ModTime = t.options.Time
	}
	if e.links > 1 && h.Typeflag != tar.TypeDir {
		if first, ok := t.links[e.inode]; ok {
			// Attributes belong to the file, which has them already.
			h.Typeflag, h.Linkname, h.Size, h.PAXRecords = tar.TypeLink, first, 0, nil
		} else {
			t.links[e.inode] = h.Name
		}
	}
	if err := t.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("writing the archive at %q: %w", e.path, err)
	}
	return t.writeContent(ctx, e)
}

func (t *tarWriter) writeContent(ctx context.Context, e *treeEntry) error {
	left := e.header.Size
	if left == 0 {
		return nil
	}
	if e.data != nil {
		return t.write(e, e.data)
	}
	f, err := e.open()
	if err != nil {
		return err
	}
	if t.buf == nil {
		t.buf = make([]byte, 1<<20)
	}
	for left > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(f, t.buf[:min(left, int64(len(t.buf)))])
		if err != nil {
			return shorter(e, err)
		}
		if err := t.write(e, t.buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

func (t *tarWriter) write(e *treeEntry, p []byte) error {
	if _, err := t.tar.Write(p); err != nil {
		return fmt.Errorf("writing the archive at %q: %w", e.path, err)
	}
	t.done += int64(len(p))
	if t.options.Progress != nil {
		t.options.Progress(t.done, 0)
	}
	return nil
}

// shorter explains the end of a file before its time.
func shorter(e *treeEntry, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("reading %q: the file changed while the archive was written", e.path)
	}
	return fmt.Errorf("reading %q: %w", e.path, err)
}

// open gives the file's content from the start; close closes it.
func (e *treeEntry) open() (*os.File, error) {
	if e.file == nil {
		f, err := os.Open(e.path)
		if err != nil {
			return nil, fmt.Errorf("reading the tree: %w", err)
		}
		e.file = f
	}
	return e.file, nil
}

func (e *treeEntry) close() {
	if e.file != nil {
		e.file.Close() // it was only read
	}
}
