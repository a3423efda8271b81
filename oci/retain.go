package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// The store prunes itself when a build is done, and only when it takes more room
// than it may:
//
//	Retain: note the layers that this build of a command stood on; of each
//	        command the last keepBuilds different ones are remembered
//	PruneAuto: when the layers take more than the limit,
//	        remove the longest unused that no remembered build stood on;
//	        if that is not enough, of the remembered ones likewise;
//	        never what somebody holds, and this build holds its own
//
// What the layers take is summed up from a file with their sizes, so that
// nothing to do is found out in a few milliseconds.

// keepBuilds is how many different builds of a command are remembered.
const keepBuilds = 3

// sharePercent is what the layers may take of their file system by default.
const sharePercent = 20

// commandRecord is what is remembered of the builds of a command.
type commandRecord struct {
	Command string
	Builds  []buildRecord // the latest first
}

type buildRecord struct {
	At     time.Time
	Layers []string // IDs: the last, and those that phases ended with
}

func (s *Store) commandPath(command string) string {
	sum := sha256.Sum256([]byte(command))
	return filepath.Join(s.dir, "builds", hex.EncodeToString(sum[:16])+".json")
}

// readCommand returns an empty record for a missing or damaged file.
func readCommand(path string) (commandRecord, error) {
	var rec commandRecord
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return rec, nil
	}
	if err == nil && json.Unmarshal(data, &rec) != nil {
		rec = commandRecord{} // only pruning is less clever
	}
	return rec, err
}

// Retain notes that a build of the command stood on the layers. The command is
// any text that is the same when the same thing is built again. Layers that are
// not sealed go with their build: they are not noted.
func (s *Store) Retain(ctx context.Context, command string, layers ...rootfs.Layer) error {
	if err := s.retain(ctx, command, layers); err != nil {
		return fmt.Errorf("noting the layers of this build: %w", s.hint(err))
	}
	return nil
}

func (s *Store) retain(ctx context.Context, command string, layers []rootfs.Layer) error {
	now := buildRecord{At: time.Now().UTC(), Layers: s.sealedOf(layers)}
	if len(now.Layers) == 0 {
		return nil
	}
	path := s.commandPath(command)
	l, err := waitLock(ctx, s.lockPath("builds", filepath.Base(path)), unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer l.remove()
	rec, err := readCommand(path)
	if err != nil {
		return err
	}
	rec.Builds = slices.DeleteFunc(rec.Builds, func(b buildRecord) bool { return slices.Equal(b.Layers, now.Layers) })
	rec.Builds = slices.Insert(rec.Builds, 0, now)
	rec.Builds = rec.Builds[:min(keepBuilds, len(rec.Builds))]
	rec.Command = command
	return s.writeLoose(path, rec)
}

// sealedOf gives the IDs of layers, each once, without those that are not sealed.
func (s *Store) sealedOf(layers []rootfs.Layer) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, l := range layers {
		if s.fresh[l.ID()] == nil && !slices.Contains(ids, l.ID()) {
			ids = append(ids, l.ID())
		}
	}
	return ids
}

// writeLoose replaces a file that may be lost in a power cut: nothing is flushed,
// and a torn one counts as missing.
func (s *Store) writeLoose(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	temp := filepath.Join(s.work, "loose-"+newID()[:12])
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// PruneAuto prunes when the layers take more than limit bytes; with zero, a
// fifth of the file system. Without anything to do it takes a few milliseconds.
func (s *Store) PruneAuto(ctx context.Context, limit int64) (PruneReport, error) {
	r, err := s.pruneAuto(ctx, limit)
	if err != nil {
		err = fmt.Errorf("pruning the layer store %q: %w", s.root, s.hint(err))
	}
	return r, err
}

func (s *Store) pruneAuto(ctx context.Context, limit int64) (PruneReport, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.root, &fs); err != nil {
		return PruneReport{}, err
	}
	if limit == 0 {
		limit = int64(fs.Blocks) * fs.Bsize / 100 * sharePercent
	}
	if int64(fs.Blocks-fs.Bfree)*fs.Bsize <= limit {
		return PruneReport{}, nil // so the layers cannot take more either
	}
	size, err := s.size(ctx)
	if err != nil || size <= limit {
		return PruneReport{Left: size}, err
	}
	keep, err := s.retained()
	if err != nil {
		return PruneReport{}, err
	}
	first := &pruner{s: s, o: PruneOptions{MaxBytes: limit}, keep: keep}
	if err := first.run(ctx); err != nil || first.report.Left <= limit {
		return first.report, err
	}
	second := &pruner{s: s, o: PruneOptions{MaxBytes: limit}}
	err = second.run(ctx)
	r := second.report
	r.Layers, r.Records, r.Freed = r.Layers+first.report.Layers, r.Records+first.report.Records, r.Freed+first.report.Freed
	return r, err
}

// size is what all finished layers take on disk, in bytes. The sizes are kept in
// one file: a finished layer's never changes. One that is being made has none.
func (s *Store) size(ctx context.Context) (total int64, err error) {
	path := filepath.Join(s.dir, "sizes.json")
	known := map[string]int64{}
	if data, err := os.ReadFile(path); err != nil || json.Unmarshal(data, &known) != nil {
		known = map[string]int64{}
	}
	layers, err := s.st.Layers()
	if err != nil {
		return 0, err
	}
	sizes := make(map[string]int64, len(layers))
	for _, l := range layers {
		n, ok := known[l.ID]
		if !ok {
			if _, err := os.Lstat(s.infoPath(l.ID)); err != nil {
				continue
			}
			info, err := s.info(ctx, l.ID)
			if err != nil {
				return 0, err
			}
			n = info.Bytes
		}
		sizes[l.ID] = n
		total += n
	}
	if maps.Equal(sizes, known) {
		return total, nil
	}
	return total, s.writeLoose(path, sizes)
}

// retained are the layers of all remembered builds.
func (s *Store) retained() (map[string]bool, error) {
	keep := map[string]bool{}
	return keep, s.eachCommand(func(_ string, rec commandRecord) error {
		for _, b := range rec.Builds {
			for _, id := range b.Layers {
				keep[id] = true
			}
		}
		return nil
	})
}

func (s *Store) eachCommand(do func(path string, rec commandRecord) error) error {
	names, err := os.ReadDir(filepath.Join(s.dir, "builds"))
	if err != nil {
		return err
	}
	for _, n := range names {
		path := filepath.Join(s.dir, "builds", n.Name())
		rec, err := readCommand(path)
		if err != nil {
			return err
		}
		if err := do(path, rec); err != nil {
			return err
		}
	}
	return nil
}

// forgetBuilds drops commands of whose last builds no layer is left.
func (s *Store) forgetBuilds() error {
	return s.eachCommand(func(path string, rec commandRecord) error {
		for _, b := range rec.Builds {
			if slices.ContainsFunc(b.Layers, s.exists) {
				return nil
			}
		}
		err := os.Remove(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
}
