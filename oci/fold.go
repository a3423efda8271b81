package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// foldAt is the number of layers in a stack that is folded before another
	// goes on top. Looking up names costs more with each layer (listing a tree
	// through 80 takes four times as long as through one), and at about 60 the
	// mount options outgrow a page, which costs a process per mount.
	foldAt = 40
	// foldKeep is the number of lowest layers that a fold leaves alone: the base
	// and the first step's, which is most of the tree and would be copied.
	foldKeep = 2
)

// foldRecord says which layer shows the same tree as another's whole stack.
type foldRecord struct{ Layer string }

func (s *Store) foldPath(id string) string {
	return filepath.Join(s.dir, "folds", id+".json")
}

// foldedParent returns the layer that a child of id is made on: id, or when its
// stack is too deep the fold of it, which is made once.
func (s *Store) foldedParent(ctx context.Context, id string) (string, error) {
	chain, err := s.chain(id)
	if err != nil || len(chain) < foldAt {
		return id, err
	}
	s.foldMu.Lock()
	defer s.foldMu.Unlock()
	if f, err := s.findFold(ctx, id); f != "" || err != nil {
		return f, err
	}
	l, err := waitLock(ctx, s.lockPath("fold", id), unix.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer l.remove()
	if f, err := s.findFold(ctx, id); f != "" || err != nil {
		return f, err
	}
	f, err := s.makeFold(ctx, chain)
	if err != nil {
		return "", fmt.Errorf("folding %d layers: %w", len(chain)-foldKeep, err)
	}
	s.mu.Lock()
	s.folded[id], s.unsaved[id] = f, true
	s.mu.Unlock()
	return f, nil
}

// findFold returns the held fold of id, "" when there is none.
func (s *Store) findFold(ctx context.Context, id string) (string, error) {
	s.mu.Lock()
	f := s.folded[id]
	s.mu.Unlock()
	if f != "" {
		return f, nil
	}
	f = s.readFold(id)
	if f == "" {
		return "", nil
	}
	if err := s.hold(ctx, f); err != nil {
		return "", err
	}
	if s.readFold(id) != f || !s.exists(f) { // pruned before we held it
		return "", nil
	}
	s.mu.Lock()
	s.folded[id] = f
	s.mu.Unlock()
	return f, nil
}

func (s *Store) readFold(id string) string {
	var rec foldRecord
	data, err := os.ReadFile(s.foldPath(id))
	if err == nil {
		err = json.Unmarshal(data, &rec)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("a fold's record is damaged", "layer", id, "err", err)
	}
	return rec.Layer
}

func (s *Store) makeFold(ctx context.Context, chain []string) (string, error) {
	id := newID()
	s.mu.Lock()
	s.fresh[id] = &freshOne{mounted: true}
	s.mu.Unlock()
	err := s.createLayer(ctx, id, chain[foldKeep-1])
	if err == nil {
		err = mergeDiffs(ctx, s.diffDir(id), s.diffDirs(chain[foldKeep:]), s.diffDirs(chain[:foldKeep]))
	}
	if err == nil {
		_, err = s.info(ctx, id) // its size counts
	}
	s.mu.Lock()
	s.fresh[id].mounted = false
	s.mu.Unlock()
	if err != nil {
		err = errors.Join(err, s.deleteLayer(id))
		s.mu.Lock()
		delete(s.fresh, id)
		s.mu.Unlock()
		return "", err
	}
	s.markDirty()
	s.log.Debug("folded layers", "layers", len(chain)-foldKeep, "into", id)
	return id, nil
}

// foldsToSave returns the folds of sealed layers that are not on disk yet. Call
// it before the syncfs that covers them.
func (s *Store) foldsToSave(sealing []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id := range s.unsaved {
		if s.fresh[id] == nil || slices.Contains(sealing, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// saveFolds lets later builds use the folds of ids.
func (s *Store) saveFolds(ids []string) error {
	for _, id := range ids {
		s.mu.Lock()
		f := s.folded[id]
		s.mu.Unlock()
		if err := s.writeDurable(s.foldPath(id), foldRecord{Layer: f}); err != nil {
			return fmt.Errorf("recording a fold: %w", err)
		}
		s.mu.Lock()
		delete(s.unsaved, id)
		delete(s.fresh, f)
		s.mu.Unlock()
	}
	return nil
}

// keepFolds adds the folds of layers that exist, and forgets the others.
func (s *Store) keepFolds(kept map[string]bool) error {
	return s.eachFold(func(id, fold string) error {
		if fold != "" && s.exists(id) && s.exists(fold) {
			kept[fold] = true
			return nil
		}
		return s.forgetFold(id)
	})
}

func (s *Store) eachFold(do func(id, fold string) error) error {
	names, err := os.ReadDir(filepath.Join(s.dir, "folds"))
	if err != nil {
		return fmt.Errorf("listing folds: %w", err)
	}
	for _, n := range names {
		id := strings.TrimSuffix(n.Name(), ".json")
		if err := do(id, s.readFold(id)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) forgetFold(id string) error {
	err := os.Remove(s.foldPath(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
