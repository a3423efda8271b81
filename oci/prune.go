package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// PruneOptions say what may go. A step is removed when any of All, OlderThan
// and MaxBytes asks for it; the zero value removes only what dead builds left.
// Never removed: what a running build holds, what something that stays stands
// on, and Keep.
type PruneOptions struct {
	All       bool
	OlderThan time.Duration // not used for longer than this; zero: no limit
	MaxBytes  int64         // remove the longest unused until the layers take at most this; zero: no limit
	Keep      []rootfs.Key
}

// PruneReport says what a Prune did.
type PruneReport struct {
	Records, Layers int   // removed
	Freed           int64 // bytes
	Left            int64 // bytes of the layers that stay
	Held            int   // steps that were due and are in use
}

// List returns all sealed steps, the longest unused first.
func (s *Store) List(ctx context.Context) ([]Entry, error) {
	recs, err := s.records(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the store's steps: %w", err)
	}
	var all []Entry
	counted := map[string]bool{}
	for _, r := range recs {
		e := Entry{Record: r, Used: s.used(r)}
		if s.exists(r.Layer) && !counted[r.Layer] {
			counted[r.Layer] = true
			info, err := s.info(ctx, r.Layer)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("listing the store's steps: %w", err)
			}
			if err == nil {
				e.Size = info.Bytes
			}
		}
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return a.Used.Compare(b.Used) })
	return all, nil
}

func (s *Store) used(r rootfs.Record) time.Time {
	st, err := os.Stat(s.recordPath(r.Key))
	if err != nil {
		return r.Made
	}
	return st.ModTime()
}

// pruner is one Prune at work.
type pruner struct {
	s      *Store
	o      PruneOptions
	keep   map[string]bool // IDs of layers that stay, beside those of o.Keep
	report PruneReport
	nodes  map[string]*node // by layer ID
	cutoff time.Time
}

// node is a layer as the pruner sees it.
type node struct {
	id       string
	parent   string
	children int
	bytes    int64
	keys     []rootfs.Key
	used     time.Time // latest use of its records
	keep     bool
}

// Prune removes sealed steps that opts does not want any more, and what dead
// builds left. It may run beside builds.
func (s *Store) Prune(ctx context.Context, opts PruneOptions) (PruneReport, error) {
	p := &pruner{s: s, o: opts, cutoff: time.Now().Add(-opts.OlderThan)}
	err := p.run(ctx)
	if err != nil {
		err = fmt.Errorf("pruning the layer store %q: %w", s.root, s.hint(err))
	}
	return p.report, err
}

func (p *pruner) run(ctx context.Context) error {
	if err := errors.Join(p.s.sweepRuns(), p.s.sweepContainers()); err != nil {
		return err
	}
	n, err := p.s.sweepLayers(ctx)
	p.report.Layers += n
	if err != nil {
		return err
	}
	if err := p.load(ctx); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := p.next()
		if n == nil {
			break
		}
		if err := p.remove(ctx, n); err != nil {
			return err
		}
	}
	return errors.Join(p.s.sweepFiles(ctx), p.s.sweepBlobs(), p.s.sweepEntries(), p.s.forgetBuilds())
}

// load reads layers first and records after: a layer sealed in between has no
// node, and is left alone.
func (p *pruner) load(ctx context.Context) error {
	layers, err := p.s.st.Layers()
	if err != nil {
		return err
	}
	p.nodes = map[string]*node{}
	for _, l := range layers {
		info, err := p.s.info(ctx, l.ID)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		p.nodes[l.ID] = &node{id: l.ID, parent: l.Parent, bytes: info.Bytes, keep: p.keep[l.ID]}
		p.report.Left += info.Bytes
	}
	for _, n := range p.nodes {
		if up := p.nodes[n.parent]; up != nil {
			up.children++
		}
	}
	recs, err := p.s.records(ctx)
	if err != nil {
		return err
	}
	for _, r := range recs {
		p.addRecord(r)
	}
	return p.s.eachFold(func(id, fold string) error {
		p.addFold(id, fold)
		return nil
	})
}

func (p *pruner) addRecord(r rootfs.Record) {
	n := p.nodes[r.Layer]
	if n == nil {
		return
	}
	n.keys = append(n.keys, r.Key)
	if used := p.s.used(r); used.After(n.used) {
		n.used = used
	}
	n.keep = n.keep || slices.Contains(p.o.Keep, r.Key)
}

// addFold lets a fold go with the layer that it stands for.
func (p *pruner) addFold(id, fold string) {
	if n, of := p.nodes[fold], p.nodes[id]; n != nil && of != nil {
		n.used = of.used
	}
}

// next picks the longest unused layer that has to go and that nothing stands on.
func (p *pruner) next() *node {
	over := p.o.MaxBytes > 0 && p.report.Left > p.o.MaxBytes
	var oldest *node
	for _, n := range p.nodes {
		if n.children > 0 || n.keep {
			continue
		}
		due := p.o.All || over || p.o.OlderThan > 0 && n.used.Before(p.cutoff)
		if due && (oldest == nil || n.used.Before(oldest.used)) {
			oldest = n
		}
	}
	return oldest
}

// remove takes a leaf out of the list, and off the disk unless somebody holds
// it.
func (p *pruner) remove(ctx context.Context, n *node) error {
	delete(p.nodes, n.id)
	if !p.s.hasLock(n.id) {
		return nil // buildah's working container
	}
	l, err := tryLock(p.s.lockPath("layer", n.id), unix.LOCK_EX)
	if errors.Is(err, errLocked) {
		p.report.Held++
		return nil
	}
	if err != nil {
		return err
	}
	if err := p.dropRecords(n); err != nil {
		return errors.Join(err, l.release())
	}
	gone, err := p.s.removeLocked(n.id, l)
	if err != nil || !gone {
		return err // the base stays, without the records of empty steps on it
	}
	p.report.Layers++
	p.report.Freed += n.bytes
	p.report.Left -= n.bytes
	if up := p.nodes[n.parent]; up != nil {
		up.children--
	}
	return nil
}

// dropRecords removes what names the layer, whose exclusive lock is held: only
// a holder can make a record of it.
func (p *pruner) dropRecords(n *node) error {
	for _, k := range n.keys {
		rec, err := p.s.readRecord(k)
		if errors.Is(err, os.ErrNotExist) || err == nil && rec.Layer != n.id {
			continue // replaced meanwhile
		}
		if err == nil {
			err = os.Remove(p.s.recordPath(k))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		p.report.Records++
	}
	return p.s.eachFold(func(id, fold string) error {
		if fold == n.id || id == n.id {
			return p.s.forgetFold(id)
		}
		return nil
	})
}

// sweepFiles removes records, lock and info files of layers that are gone.
func (s *Store) sweepFiles(ctx context.Context) error {
	recs, err := s.records(ctx)
	if err != nil {
		return err
	}
	for _, r := range recs {
		if s.exists(r.Layer) {
			continue
		}
		if err := os.Remove(s.recordPath(r.Key)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	locks, _ := filepath.Glob(s.lockPath("layer", "*"))
	infos, _ := filepath.Glob(s.infoPath("*"))
	for _, path := range append(infos, locks...) {
		id := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(path), ".json"), "layer-")
		if s.exists(id) {
			continue
		}
		l, err := tryLock(s.lockPath("layer", id), unix.LOCK_EX)
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(s.dropInfo(id), l.remove()); err != nil {
			return err
		}
	}
	return nil
}
