package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"
)

// imageRun builds a list of images, some of them at once, each by a process of
// this same program.
type imageRun struct {
	self           string
	env            []string
	stdin          io.Reader
	stdout, stderr io.Writer
	jobs           int
	stop           bool // start no further one after a failure

	mu     sync.Mutex // over what is written to stdout and stderr
	failed []endedImage
}

// endedImage is an image whose build ended, and how.
type endedImage struct {
	image imageEntry
	err   error
}

// run returns an error that names the image that failed last, and its command.
func (r *imageRun) run(ctx context.Context, images []imageEntry) error {
	waiting := slices.Clone(images)
	built := map[string]bool{}
	ended := make(chan endedImage)
	for running := 0; ; running-- {
		for running < r.jobs && ctx.Err() == nil && !(r.stop && len(r.failed) > 0) {
			at := slices.IndexFunc(waiting, func(e imageEntry) bool { return e.base == nil || built[e.base.name] })
			if at < 0 {
				break
			}
			image := waiting[at]
			waiting = slices.Delete(waiting, at, at+1)
			running++
			go func() { ended <- endedImage{image, r.build(ctx, image)} }()
		}
		if running == 0 {
			break
		}
		e := <-ended
		if built[e.image.name] = e.err == nil; e.err != nil {
			r.failed = append(r.failed, e)
		}
	}
	stranded := slices.DeleteFunc(waiting, func(e imageEntry) bool { return e.base == nil || built[e.base.name] })
	return r.verdict(images, stranded)
}

// verdict tells which images failed, and which are stranded: not begun for want
// of the one that they start from.
func (r *imageRun) verdict(images, stranded []imageEntry) error {
	if len(r.failed) == 0 {
		return nil
	}
	var names, without []string
	for _, f := range r.failed {
		names = append(names, f.image.name)
	}
	for _, e := range stranded {
		without = append(without, fmt.Sprintf("%s for want of %s", e.name, e.base.name))
	}
	text := fmt.Sprintf("%d of %s failed (%s)", len(r.failed), count(len(images), "image"), strings.Join(names, ", "))
	if len(without) > 0 {
		text += fmt.Sprintf(", %d not begun (%s)", len(without), strings.Join(without, ", "))
	}
	last := r.failed[len(r.failed)-1]
	return fmt.Errorf("%s; the last: %s: %w", text, last.image.shellText(environmentMap(r.env), true), last.err)
}

func (r *imageRun) build(ctx context.Context, image imageEntry) error {
	r.mu.Lock()
	announce(r.stderr, image.shellText(environmentMap(r.env), true))
	r.mu.Unlock()
	stdout, stderr := r.stdout, r.stderr
	if r.jobs > 1 {
		out, complaint := r.prefixed(r.stdout, image.name), r.prefixed(r.stderr, image.name)
		defer out.end()
		defer complaint.end()
		stdout, stderr = out, complaint
	}
	return r.process(ctx, image, stdout, stderr)
}

// process runs the program of one image. The child dies with this process: the
// death signal belongs to the thread that started it.
func (r *imageRun) process(ctx context.Context, image imageEntry, stdout, stderr io.Writer) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, r.self)
	cmd.Args = append([]string{image.program()}, image.arguments()...)
	for name, value := range image.environ(environmentMap(r.env)) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	own := r.jobs > 1 || !isTerminal(r.stdin)
	if r.jobs == 1 {
		cmd.Stdin = r.stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: own, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return passOn(ctx, cmd.Process, own) }
	cmd.WaitDelay = 10 * time.Minute // a build that is told to stop lets go of what it has
	return cmd.Run()
}

// passOn hands a signal on, once: a build takes the second one for a wish to die
// at once. In the terminal's process group ^C has reached it already.
func passOn(ctx context.Context, p *os.Process, own bool) error {
	signal := signalError{syscall.SIGTERM}
	errors.As(context.Cause(ctx), &signal)
	if !own && signal.signal != syscall.SIGTERM {
		return nil
	}
	return p.Signal(signal.signal)
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// prefixed is a writer that puts a name in front of each line; lines of several
// images do not mix.
func (r *imageRun) prefixed(w io.Writer, name string) *linePrefixer {
	return &linePrefixer{mu: &r.mu, w: w, prefix: name + " | "}
}

type linePrefixer struct {
	mu     *sync.Mutex
	w      io.Writer
	prefix string
	rest   []byte // a line that has no end yet
}

func (p *linePrefixer) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	end := bytes.LastIndexByte(p.rest, '\n') + 1
	if end == 0 {
		return len(data), nil
	}
	var b bytes.Buffer
	for line := range bytes.Lines(p.rest[:end]) {
		b.WriteString(p.prefix)
		b.Write(line)
	}
	p.rest = append(p.rest[:0], p.rest[end:]...)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.w.Write(b.Bytes())
	return len(data), err
}

// end writes what is left of a line.
func (p *linePrefixer) end() {
	if len(p.rest) > 0 {
		p.Write([]byte("\n"))
	}
}
