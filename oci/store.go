package oci

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// Options say where a store lies. Root is required.
type Options struct {
	Root    string       // graph root, for example /var/lib/lithify; made when missing
	RunRoot string       // folder for run state of this store alone; default: one below Root, removed by Close
	Logger  *slog.Logger // default: silent
}

// Store implements rootfs.Store. One process may open several; each counts as
// one build and holds what it uses until Close.
type Store struct {
	root, dir string // dir is ROOT/lithify
	work      string // ROOT/lithify/run/NAME: temporary files
	run       string // NAME
	runLock   *lock
	log       *slog.Logger
	st        storage.Store
	rootDir   *os.File // for syncfs; open all the time so that it reports write errors
	opened    time.Time

	syncMu sync.Mutex // held during syncfs, so that nobody seals before it is done
	dirty  bool       // a layer was finished since the last syncfs; under syncMu

	mu         sync.Mutex
	holds      map[string]*lock     // by layer ID
	chains     map[string][]string  // layer ID → IDs of its stack, lowest first, itself last
	fresh      map[string]*freshOne // layers that this store made, not sealed
	containers map[*container]bool
	claims     map[*claim]bool
	folded     map[string]string // layer ID → the fold made of its stack
	unsaved    map[string]bool   // keys of folded that are not on disk yet

	foldMu sync.Mutex // one fold at a time

	infoMu sync.Mutex
	infos  map[string]*layerInfo // by layer ID
}

var _ rootfs.Store = (*Store)(nil)

// freshOne is a layer of this store that is not sealed.
type freshOne struct {
	claim   *claim // nil for a fold
	mounted bool
}

// Open opens the store below opts.Root, makes it when missing, and removes what
// dead builds left: layers that were not sealed, run roots, temporary files.
// The caller closes it.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Root == "" {
		return nil, errors.New("opening the layer store: no folder given")
	}
	root, err := filepath.Abs(opts.Root)
	if err != nil {
		return nil, fmt.Errorf("opening the layer store %q: %w", opts.Root, err)
	}
	if strings.ContainsAny(root, ",:\\\n") {
		return nil, fmt.Errorf("opening the layer store %q: a comma, colon or backslash in the folder's name would be read as mount options: name another folder", root)
	}
	s := &Store{
		root: root, dir: filepath.Join(root, "lithify"), log: opts.Logger, opened: time.Now(),
		holds: map[string]*lock{}, chains: map[string][]string{}, fresh: map[string]*freshOne{},
		containers: map[*container]bool{}, claims: map[*claim]bool{},
		folded: map[string]string{}, unsaved: map[string]bool{}, infos: map[string]*layerInfo{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(ctx, opts.RunRoot); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the layer store %q: %w", root, s.hint(err)), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, runRoot string) error {
	if err := s.makeFolders(); err != nil {
		return err
	}
	if err := s.checkFormat(ctx); err != nil {
		return err
	}
	if err := s.startRun(); err != nil {
		return err
	}
	var err error
	if s.rootDir, err = os.Open(s.root); err != nil {
		return err
	}
	if runRoot == "" {
		runRoot = filepath.Join(s.work, "storage")
	}
	if s.st, err = openStorage(s.root, runRoot, s.work); err != nil {
		return err
	}
	return s.sweep(ctx)
}

func (s *Store) makeFolders() error {
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		return err
	}
	for _, d := range []string{"records", "folds", "info", "blobs", "entries", "builds", "locks", "run"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// startRun takes a name and a lock that tells other processes that this store
// is open.
func (s *Store) startRun() error {
	s.run = newID()[:16]
	l, err := tryLock(s.runLockPath(s.run), unix.LOCK_EX)
	if err != nil {
		return err
	}
	s.runLock = l
	s.work = filepath.Join(s.dir, "run", s.run)
	return os.Mkdir(s.work, 0o700)
}

func (s *Store) runLockPath(run string) string {
	return filepath.Join(s.dir, "run", run+".lock")
}

// Close unmounts and drops what is not sealed, releases all holds and removes
// the run root. It may be called again.
func (s *Store) Close() error {
	var errs []error
	for _, c := range s.openContainers() {
		errs = append(errs, c.Close())
	}
	for _, c := range s.openClaims() {
		errs = append(errs, c.Close())
	}
	if s.st != nil {
		errs = append(errs, s.dropFresh(true))
		s.st.Free()
		s.st = nil
	}
	errs = append(errs, s.releaseHolds())
	if s.rootDir != nil {
		errs = append(errs, s.rootDir.Close())
		s.rootDir = nil
	}
	if s.runLock != nil {
		errs = append(errs, os.RemoveAll(s.work), s.runLock.remove())
		s.runLock = nil
	}
	return errors.Join(errs...)
}

func (s *Store) openContainers() []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*container
	for c := range s.containers {
		all = append(all, c)
	}
	return all
}

func (s *Store) openClaims() []*claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*claim
	for c := range s.claims {
		all = append(all, c)
	}
	return all
}

// newID gives a name for a layer in the form that containers/storage uses.
func newID() string {
	var b [32]byte
	rand.Read(b[:]) // never returns an error
	return hex.EncodeToString(b[:])
}

// sync makes all that was finished durable. It is cheap when nothing was
// finished since the last time.
func (s *Store) sync() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	if !s.dirty {
		return nil
	}
	if err := unix.Syncfs(int(s.rootDir.Fd())); err != nil {
		return fmt.Errorf("writing the file system of %q out: %w", s.root, s.hint(err))
	}
	s.dirty = false
	return nil
}

func (s *Store) markDirty() {
	s.syncMu.Lock()
	s.dirty = true
	s.syncMu.Unlock()
}
