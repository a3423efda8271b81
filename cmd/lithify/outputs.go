package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// outputFolder is where the outputs of one name are written before they get
// their final names: a folder beside them, NAME's folder/.NAME.lithify. It is
// also the lock of the name: who holds it is the only one who makes outputs of
// that name. It goes with Close; what a dead build left in it goes when the
// next one takes it over.
type outputFolder struct {
	base      string // NAME as the user wrote it
	dir       string
	lock      *os.File
	overwrite bool
}

// openOutputs takes the folder of the name base. When another build has it,
// wait is called once, and openOutputs waits.
func openOutputs(ctx context.Context, base string, overwrite bool, wait func()) (*outputFolder, error) {
	dir := filepath.Join(filepath.Dir(base), "."+filepath.Base(base)+".lithify")
	for {
		lock, err := lockFolder(ctx, dir, wait)
		if err != nil {
			return nil, fmt.Errorf("locking the outputs of %q: %w", base, err)
		}
		if lock == nil { // its holder removed it while we waited
			continue
		}
		f := &outputFolder{base: base, dir: dir, lock: lock, overwrite: overwrite}
		if err := f.empty(); err != nil {
			return nil, errors.Join(fmt.Errorf("removing what an earlier build left in %q: %w", dir, err), lock.Close())
		}
		return f, nil
	}
}

// lockFolder makes and locks a folder. It returns nil without an error when the
// folder that it got the lock of has been removed meanwhile.
func lockFolder(ctx context.Context, dir string, wait func()) (*os.File, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := lockFile(ctx, f, wait); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	mine, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if there, err := os.Lstat(dir); err != nil || !os.SameFile(mine, there) {
		return nil, f.Close()
	}
	return f, nil
}

// lockFile takes an exclusive lock that ends with the last descriptor of f. It
// asks again and again rather than block, so that ctx can end the waiting.
func lockFile(ctx context.Context, f *os.File, wait func()) error {
	for first := true; ; first = false {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if first && wait != nil {
			wait()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (f *outputFolder) empty() error {
	entries, err := os.ReadDir(f.dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(f.dir, e.Name())))
	}
	return err
}

// Close removes the folder with everything that was not committed, and lets
// others have the name.
func (f *outputFolder) Close() error {
	if f.lock == nil {
		return nil
	}
	err := errors.Join(os.RemoveAll(f.dir), f.lock.Close())
	f.lock = nil
	return err
}

// output is one file on its way to its final name.
type output struct {
	folder *outputFolder
	path   string // as the user wrote it
	file   *os.File
	done   bool
}

// New makes the output NAME with the suffix (".raw"), empty, under a name that
// nobody sees.
func (f *outputFolder) New(suffix string) (*output, error) {
	path := f.base + suffix
	file, err := os.OpenFile(filepath.Join(f.dir, filepath.Base(path)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("creating %q: %w", path, err)
	}
	return &output{folder: f, path: path, file: file}, nil
}

// Path is the final name as the user wrote it.
func (o *output) Path() string { return o.path }

// File is what to write into. It belongs to the output, which closes it.
func (o *output) File() *os.File { return o.file }

// Abort drops the output. After Commit it does nothing.
func (o *output) Abort() error {
	if o.done {
		return nil
	}
	o.done = true
	return errors.Join(o.file.Close(), os.Remove(o.file.Name()))
}

// Commit gives the file its final name, with its checksums beside it. Whenever
// it is cut short, the final name holds the old output or the whole new one,
// and no checksum is of another file. An old output is kept under a dated name,
// with its checksums, unless old ones are to be overwritten. After an error the
// output is gone, as after Abort.
func (o *output) Commit(ctx context.Context, checksums []string) error {
	if err := o.commit(ctx, checksums); err != nil {
		return errors.Join(fmt.Errorf("publishing %q: %w", o.path, err), o.Abort())
	}
	return nil
}

func (o *output) commit(ctx context.Context, checksums []string) error {
	if err := o.file.Sync(); err != nil {
		return err
	}
	sums, err := digestFile(ctx, o.file, checksums)
	if err != nil {
		return err
	}
	for kind, sum := range sums {
		if err := writeSynced(o.file.Name()+"."+kind, checksumLine(sum, o.path)); err != nil {
			return err
		}
	}
	if err := o.putOldAside(); err != nil {
		return err
	}
	if err := os.Rename(o.file.Name(), o.path); err != nil {
		return err
	}
	o.done = true
	err = o.file.Close()
	for kind := range sums {
		err = errors.Join(err, os.Rename(o.file.Name()+"."+kind, o.path+"."+kind))
	}
	return errors.Join(err, syncFolder(filepath.Dir(o.path)))
}

// putOldAside gives an old output a second, dated name, so that its own is
// never empty, and moves its checksums there; with overwrite it only removes
// the checksums.
func (o *output) putOldAside() error {
	info, err := os.Lstat(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return o.removeChecksums() // of an output that somebody removed
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("a folder of that name is in the way")
	}
	if o.folder.overwrite {
		return o.removeChecksums()
	}
	dated, err := linkDated(o.path, info.ModTime())
	if err != nil {
		return fmt.Errorf("keeping the old one: %w", err)
	}
	for _, kind := range checksumKinds {
		if err := os.Rename(o.path+"."+kind, dated+"."+kind); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keeping the old one's checksum: %w", err)
		}
	}
	return nil
}

func (o *output) removeChecksums() error {
	for _, kind := range checksumKinds {
		if err := os.Remove(o.path + "." + kind); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing an old checksum: %w", err)
		}
	}
	return nil
}

// linkDated gives path the second name BASE-YYYY.MM.DD-HH.MM.SS.EXT, of the
// time it was made, or where that is taken BASE-…-2.EXT and so on. Where the
// file system has no hard links the file is renamed.
func linkDated(path string, made time.Time) (string, error) {
	ext := filepath.Ext(path)
	stem := strings.TrimSuffix(path, ext) + "-" + made.Local().Format("2006.01.02-15.04.05")
	dated := stem + ext
	for i := 2; ; i++ {
		err := os.Link(path, dated)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EMLINK) {
			err = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, dated, unix.RENAME_NOREPLACE)
		}
		if !errors.Is(err, fs.ErrExist) || i > 1000 {
			return dated, err
		}
		dated = fmt.Sprintf("%s-%d%s", stem, i, ext)
	}
}

// Manifests makes an empty folder to fill with the image's manifests, which
// PublishManifests then puts at NAME.d/dib-manifests.
func (f *outputFolder) Manifests() (string, error) {
	dir := filepath.Join(f.dir, "dib-manifests")
	if err := os.Mkdir(dir, 0o777); err != nil {
		return "", fmt.Errorf("creating the folder for manifests: %w", err)
	}
	return dir, nil
}

// PublishManifests replaces NAME.d/dib-manifests by the folder that Manifests
// made, in one step. It returns the final path.
func (f *outputFolder) PublishManifests() (string, error) {
	from, to := filepath.Join(f.dir, "dib-manifests"), filepath.Join(f.base+".d", "dib-manifests")
	if err := os.Mkdir(f.base+".d", 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("creating %q: %w", f.base+".d", err)
	}
	err := os.Rename(from, to)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTDIR) {
		err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return "", fmt.Errorf("publishing %q: %w", to, err)
	}
	return to, nil
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncFolder makes renames in a folder survive a power cut.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, unix.EINVAL) { // not every file system can
		err = nil
	}
	return errors.Join(err, f.Close())
}
