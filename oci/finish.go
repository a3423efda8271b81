package oci

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
)

// settle looks at what was changed before the layer is unmounted, joins hard
// links that copying up split, and tells whether the layer is worth keeping.
func (c *container) settle(ctx context.Context) (keep bool, err error) {
	if c.claim == nil {
		return false, nil // scratch
	}
	below, err := c.s.stackOf(c.below)
	if err != nil {
		return false, err
	}
	sc, err := scanDiff(ctx, c.Changes())
	if err != nil {
		return false, err
	}
	if changed, err := sc.changed(c.Changes(), below); err != nil || !changed {
		return false, err
	}
	joined, err := c.rejoin(ctx, sc, below)
	if err != nil {
		return false, err
	}
	if joined {
		if sc, err = scanDiff(ctx, c.Changes()); err != nil {
			return false, err
		}
	}
	return true, c.s.saveInfo(c.id, sc.info)
}

func (s *Store) infoPath(id string) string {
	return filepath.Join(s.dir, "info", id+".json")
}

// saveInfo is not flushed: the syncfs before a record is written covers it, and
// what is missing is found out again.
func (s *Store) saveInfo(id string, info layerInfo) error {
	data, err := json.Marshal(info)
	if err != nil {
		return err
	}
	s.infoMu.Lock()
	s.infos[id] = &info
	s.infoMu.Unlock()
	path := filepath.Join(s.work, "info-"+id)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return os.Rename(path, s.infoPath(id))
}

// info returns what is remembered about a finished layer, by a walk when it is
// forgotten.
func (s *Store) info(ctx context.Context, id string) (*layerInfo, error) {
	s.infoMu.Lock()
	known := s.infos[id]
	s.infoMu.Unlock()
	if known != nil {
		return known, nil
	}
	var info layerInfo
	data, err := os.ReadFile(s.infoPath(id))
	if err == nil && json.Unmarshal(data, &info) == nil {
		s.infoMu.Lock()
		s.infos[id] = &info
		s.infoMu.Unlock()
		return &info, nil
	}
	sc, err := scanDiff(ctx, s.diffDir(id))
	if err != nil {
		return nil, err
	}
	return &sc.info, s.saveInfo(id, sc.info)
}

// dropInfo forgets a layer that is gone.
func (s *Store) dropInfo(id string) error {
	s.infoMu.Lock()
	delete(s.infos, id)
	s.infoMu.Unlock()
	err := os.Remove(s.infoPath(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
