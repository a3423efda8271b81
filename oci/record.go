package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lithify/lithify/rootfs"
)

// Entry is one sealed step as List sees it.
type Entry struct {
	rootfs.Record
	Used time.Time // last found or sealed
	Size int64     // bytes on disk of the layer's own changes; 0 for a step that changed nothing
}

func (s *Store) recordPath(k rootfs.Key) string {
	return filepath.Join(s.dir, "records", string(k)+".json")
}

// checkKey refuses what is not safe as a file name.
func checkKey(k rootfs.Key) error {
	if k == "" || len(k) > 128 || strings.Trim(string(k), "0123456789abcdef") != "" {
		return fmt.Errorf("step key %q: want lower-case hexadecimal digits", k)
	}
	return nil
}

// readRecord returns fs.ErrNotExist for a missing record. A damaged one is
// removed and counts as missing: its layer is then left-over work.
func (s *Store) readRecord(k rootfs.Key) (rootfs.Record, error) {
	var rec rootfs.Record
	data, err := os.ReadFile(s.recordPath(k))
	if err != nil {
		return rec, err
	}
	err = json.Unmarshal(data, &rec)
	if err == nil && rec.Key == k && rec.Layer != "" {
		return rec, nil
	}
	if err == nil {
		err = errors.New("key or layer is wrong")
	}
	s.log.Warn("removing a damaged record", "key", k, "err", err)
	if err := os.Remove(s.recordPath(k)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return rec, err
	}
	return rec, os.ErrNotExist
}

// records returns all readable records.
func (s *Store) records(ctx context.Context) ([]rootfs.Record, error) {
	names, err := os.ReadDir(filepath.Join(s.dir, "records"))
	if err != nil {
		return nil, fmt.Errorf("listing records: %w", err)
	}
	var recs []rootfs.Record
	for _, n := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		k, ok := strings.CutSuffix(n.Name(), ".json")
		if !ok {
			continue
		}
		rec, err := s.readRecord(rootfs.Key(k))
		if errors.Is(err, os.ErrNotExist) {
			continue // damaged, or pruned meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("reading record %q: %w", k, err)
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// writeDurable replaces a file so that after a power cut it is there whole, or
// as it was. Temporary files lie in the store's run folder, where the next Open
// removes what a killed process left.
func (s *Store) writeDurable(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return fmt.Errorf("encoding %q: %w", path, err)
	}
	f, err := os.CreateTemp(s.work, "write-")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
