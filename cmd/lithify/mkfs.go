package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/file"
	"golang.org/x/sys/unix"
)

// read checks the words of the command line that need no look at the content.
func (m *mkfsCommand) read(env []string, size, offset string) (err error) {
	m.env = environmentMap(env)
	if m.fsType == "" {
		return usagef("--type is missing: one of %s", strings.Join(blockdev.SingleTypes(), ", "))
	}
	if size != "" {
		if m.size, err = parseSize("--size", size, 1, "bytes"); err != nil {
			return err
		}
		if m.size <= 0 {
			return usagef("--size: %q holds nothing", size)
		}
	}
	m.offset = -1
	if offset != "" {
		if m.offset, err = parseSize("--offset", offset, 1, "bytes"); err != nil {
			return err
		}
		if m.offset%512 != 0 {
			return usagef("--offset: %d is no multiple of 512 bytes, where sectors begin", m.offset)
		}
	}
	if err := m.checkExtra(); err != nil {
		return err
	}
	if err := m.checkFrom(); err != nil {
		return err
	}
	return m.checkTarget()
}

func (m *mkfsCommand) checkFrom() error {
	if m.from == "" {
		return nil
	}
	dir, err := filepath.EvalSymlinks(m.from)
	if err != nil {
		return usagef("--from: %w", err)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return usagef("--from: %w", err)
	}
	if !st.IsDir() {
		return usagef("--from: %q is no folder", m.from)
	}
	m.from, err = filepath.Abs(dir)
	return err
}

// checkTarget says what may become of FILE.
func (m *mkfsCommand) checkTarget() error {
	path, err := filepath.EvalSymlinks(m.target)
	if errors.Is(err, fs.ErrNotExist) {
		if m.offset >= 0 {
			return usagef("--offset: %q is not there; it is to be written into", m.target)
		}
		return m.outside(filepath.Dir(m.target))
	}
	if err != nil {
		return usagef("%w", err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return usagef("%w", err)
	}
	m.device = st.Mode()&fs.ModeDevice != 0 && st.Mode()&fs.ModeCharDevice == 0
	switch {
	case !st.Mode().IsRegular() && !m.device:
		return usagef("%q is neither a file nor a block device", m.target)
	case m.device && m.offset < 0 && !m.force:
		return usagef("%q is a device: --force overwrites what is on it", m.target)
	case m.offset < 0 && !m.force:
		return usagef("%q is there: --force replaces it, --offset writes into it", m.target)
	}
	m.target = path
	if m.existing = m.device || m.offset >= 0; m.existing {
		if err := m.measureTarget(); err != nil {
			return err
		}
	}
	return m.outside(filepath.Dir(path))
}

// measureTarget opens what is to be written in place, and finds its length. The
// kernel gives no device of its own use (a mount, swap, a volume) to who asks
// for it alone.
func (m *mkfsCommand) measureTarget() error {
	f, err := os.OpenFile(m.target, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return usagef("%q is in use: mounted, or part of a volume that is", m.target)
	}
	if err != nil {
		return err
	}
	m.room, err = f.Seek(0, io.SeekEnd)
	m.offset = max(0, m.offset)
	if err == nil && m.device && m.size == 0 {
		if m.size = m.room - m.offset; m.size <= 0 {
			err = usagef("--offset: %d is not before the end of %q, which has %d bytes", m.offset, m.target, m.room)
		}
	}
	return errors.Join(err, f.Close())
}

// outside refuses a target within the tree: it would become part of itself.
func (m *mkfsCommand) outside(dir string) error {
	if m.from == "" {
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return usagef("%w", err)
	}
	if rel, err := filepath.Rel(m.from, dir); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return usagef("%q lies in %q, which it is to be filled from", m.target, m.from)
	}
	return nil
}

func (m *mkfsCommand) run(ctx context.Context) (err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = interrupted{cause: context.Cause(ctx), err: err}
		}
	}()
	content := blockdev.Content{Inodes: 1, Dirs: 1, Bytes: 4096}
	if m.from == "" && m.size == 0 {
		return usagef("--size is missing: only a folder (--from) could say how much is needed")
	}
	if m.from != "" {
		all, err := blockdev.Measure(ctx, m.from, []string{"/"})
		if err != nil {
			return err
		}
		content = all["/"]
	}
	tree, seed, err := m.identity(ctx)
	if err != nil {
		return err
	}
	plan, err := m.make(ctx, content, seed, tree, false)
	if full := (*blockdev.NoSpaceError)(nil); errors.As(err, &full) && !full.Explicit {
		plan, err = m.make(ctx, content, seed, tree, true)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(m.stdout, m.describe(plan))
	return err
}

// identity is the tree with the time of all that is made, and what ids derive
// from: chance, or, where bytes are to repeat, the content, unless a given UUID
// says what this is.
func (m *mkfsCommand) identity(ctx context.Context) (t blockdev.Tree, seed string, err error) {
	t.Dir = m.from
	epoch := Options{Environment: m.env}
	if err := readEpoch(&epoch); err != nil {
		return t, "", err
	}
	t.Time, t.Clamp = epoch.Epoch, epoch.Epoch != nil
	if m.uuid == "random" || m.uuid == "time" {
		m.uuid = ""
		return t, rand.Text(), nil
	}
	switch {
	case t.Time == nil:
		seed = rand.Text()
	case m.uuid != "" || m.from == "":
		seed = "uuid " + m.uuid
	default:
		seed, err = blockdev.Digest(ctx, m.from, t.Time)
	}
	return t, seed + epochText(t.Time), err
}

func epochText(t *time.Time) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf(" at %d", t.Unix())
}

// make makes the file system once.
func (m *mkfsCommand) make(ctx context.Context, content blockdev.Content, seed string, tree blockdev.Tree, grow bool) (*blockdev.FSPlan, error) {
	s := blockdev.Single{
		Name: m.target, FSType: m.fsType, Label: m.label, UUID: m.uuid, Options: append(m.options[:len(m.options):len(m.options)], m.extra...),
		Release: m.release, Offset: max(0, m.offset), Size: m.size,
	}
	plan, err := s.Plan(content, seed, grow)
	if err != nil {
		if !errors.As(err, new(*blockdev.SizeError)) {
			err = usagef("%w", err)
		}
		return nil, err
	}
	o := file.Options{WorkDir: os.TempDir(), Logger: slog.New(plainLog{m.stderr})}
	if m.existing {
		if plan.Offset+plan.Size > m.room {
			return nil, &blockdev.SizeError{What: fmt.Sprintf("%q", m.target), Needed: plan.Offset + plan.Size, Given: m.room, Hint: "it is written into, and keeps its size"}
		}
		return plan, file.MakeIn(ctx, m.target, true, plan, tree, o)
	}
	return plan, m.makeFile(ctx, plan, tree, o)
}

// makeFile makes the file beside its place and moves it there when it is whole.
func (m *mkfsCommand) makeFile(ctx context.Context, plan *blockdev.FSPlan, tree blockdev.Tree, o file.Options) (err error) {
	dir := filepath.Dir(m.target)
	f, err := os.CreateTemp(dir, "."+filepath.Base(m.target)+".lithify-")
	if err != nil {
		return err
	}
	defer func() {
		if f != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(f.Chmod(0o666&^umask()), f.Truncate(plan.Size)); err != nil {
		return err
	}
	if err := file.MakeIn(ctx, f.Name(), false, plan, tree, o); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	flags := uint(unix.RENAME_NOREPLACE)
	if m.force {
		flags = 0
	}
	err = unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, m.target, flags)
	if errors.Is(err, unix.EINVAL) { // a file system that knows no flags; FILE was not there when this began
		err = os.Rename(f.Name(), m.target)
	}
	if err != nil {
		return fmt.Errorf("moving it to %q: %w", m.target, err)
	}
	whole := f
	f = nil
	return errors.Join(whole.Close(), syncFolder(dir))
}

// umask reads the process's, which can only be read by setting it.
func umask() os.FileMode {
	old := unix.Umask(0o077)
	unix.Umask(old)
	return os.FileMode(old)
}

// plainLog writes what a library has to say for people: the message, and why.
type plainLog struct{ w io.Writer }

func (l plainLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (l plainLog) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l plainLog) WithGroup(string) slog.Handler                    { return l }

func (l plainLog) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "lithify: %s", r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "why" {
			fmt.Fprintf(&b, ": %v", a.Value)
		}
		return true
	})
	b.WriteByte('\n')
	_, err := l.w.Write(b.Bytes())
	return err
}
