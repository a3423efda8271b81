package oci

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lithify/lithify/rootfs"
)

// CacheOptions say where steps of other machines are. All fields may be empty.
type CacheOptions struct {
	From   []*Repository      // asked for steps, in this order
	To     *Repository        // given the steps of this build
	Sign   ed25519.PrivateKey // signs what is given
	Verify ed25519.PublicKey  // what is taken must be signed by its other half
	Warn   func(text string)  // told what went wrong, from any goroutine; required
}

// CacheReport says what travelled.
type CacheReport struct {
	Pulled, Pushed           int   // steps
	PulledBytes, PushedBytes int64 // of blobs, compressed
}

// Cache implements rootfs.Cache over one store. Trees travel as the differences
// between the steps that are kept, not between all: what lies between two of
// them is folded on the way.
//
//	Fetch: of each row of steps take the newest that a repository lists
//	       check its entry: own key, parent, age, signature
//	       stand on the highest of its layers that this store has
//	       for each layer above: download, check, unpack under a new name
//	       flush, then record its steps: sealed like those made here
//	Offer: in the background, where the repository has no such entry: pack what
//	       the step has otherwise than the highest step below it that travels,
//	       send the blobs that are missing, the configuration, the manifest
//
// Layers are told apart by what is in them, not by their key alone: two machines
// may make a step of one key with different bytes, and what stands on one does
// not fit on the other.
type Cache struct {
	s    *Store
	o    CacheOptions
	base string

	queue chan rootfs.Key
	done  chan struct{}
	stop  context.CancelFunc

	mu      sync.Mutex
	known   map[string]entryRecord // by layer ID
	broken  map[rootfs.Key]bool    // entries to be replaced
	offered map[rootfs.Key]bool
	report  CacheReport

	// Of Fetch alone.
	lists []map[rootfs.Key]bool // by repository of From; nil: not asked
	off   []bool

	// Of the pushing goroutine alone.
	worthy map[string]bool   // layers of steps that were offered
	files  map[string]string // blobs packed and not sent, by digest
	sent   map[string]bool   // digests
	over   bool              // pushing went wrong
}

var _ rootfs.Cache = (*Cache)(nil)

// entryRecord is what is remembered of a layer that came from a repository or
// was packed for one.
type entryRecord struct {
	Format int
	From   string       // the layer below its last archive; empty: the base
	Layers []entryLayer // all from the base up
	Steps  []entryStep  `json:",omitempty"` // of the entry that it came or went with
}

// NewCache ties repositories to the store. The caller closes it before the
// store. ctx ends the pushing, too.
func (s *Store) NewCache(ctx context.Context, o CacheOptions) (*Cache, error) {
	base, err := s.base(ctx)
	if err != nil {
		return nil, fmt.Errorf("getting the empty base layer: %w", s.hint(err))
	}
	c := &Cache{
		s: s, o: o, base: base, queue: make(chan rootfs.Key, 4096), done: make(chan struct{}),
		known: map[string]entryRecord{}, broken: map[rootfs.Key]bool{}, offered: map[rootfs.Key]bool{},
		lists: make([]map[rootfs.Key]bool, len(o.From)), off: make([]bool, len(o.From)),
		worthy: map[string]bool{}, files: map[string]string{}, sent: map[string]bool{},
	}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("reading what travelled: %w", err)
	}
	ctx, c.stop = context.WithCancel(ctx)
	go c.pushAll(ctx, c.queue)
	return c, nil
}

// Finish waits until all that was offered is sent, and tells what travelled.
// Nothing may be offered after it.
func (c *Cache) Finish() CacheReport {
	c.mu.Lock()
	if c.queue != nil {
		close(c.queue)
		c.queue = nil
	}
	c.mu.Unlock()
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.report
}

// Close stops what is being sent. It may be called after Finish.
func (c *Cache) Close() error {
	c.stop()
	c.Finish()
	return nil
}

// Offer implements rootfs.Cache.
func (c *Cache) Offer(k rootfs.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.To == nil || c.queue == nil || c.offered[k] {
		return
	}
	select {
	case c.queue <- k:
		c.offered[k] = true
	default: // more steps than any image has
	}
}

func (s *Store) entryPath(layer string) string {
	return filepath.Join(s.dir, "entries", layer+".json")
}

// load reads what other builds of this store left. A damaged record, or one of
// another format, counts as missing.
func (c *Cache) load() error {
	names, err := os.ReadDir(filepath.Join(c.s.dir, "entries"))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range names {
		id, ok := strings.CutSuffix(n.Name(), ".json")
		if _, have := c.known[id]; have || !ok {
			continue
		}
		var rec entryRecord
		data, err := os.ReadFile(c.s.entryPath(id))
		if err == nil && json.Unmarshal(data, &rec) == nil && rec.Format == entryFormat && len(rec.Layers) > 0 {
			c.known[id] = rec
		}
	}
	return nil
}

func (c *Cache) remember(id string, rec entryRecord) error {
	rec.Format = entryFormat
	c.mu.Lock()
	c.known[id] = rec
	c.mu.Unlock()
	return c.s.writeLoose(c.s.entryPath(id), rec)
}

func (c *Cache) entryOf(id string) (entryRecord, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rec, ok := c.known[id]
	return rec, ok
}

// locate finds a layer that shows the tree of these archives, and holds it.
func (c *Cache) locate(ctx context.Context, layers []entryLayer) (string, error) {
	if len(layers) == 0 {
		return c.base, nil
	}
	want := chainOf(layers)
	c.mu.Lock()
	var ids []string
	for id, rec := range c.known {
		if len(rec.Layers) == len(layers) && chainOf(rec.Layers) == want {
			ids = append(ids, id)
		}
	}
	c.mu.Unlock()
	for _, id := range ids {
		if !c.s.exists(id) {
			continue
		}
		if err := c.s.hold(ctx, id); err != nil {
			return "", err
		}
		if c.s.exists(id) { // it was there before we held it
			return id, nil
		}
	}
	return "", nil
}

// sweepEntries forgets what travelled and is gone.
func (s *Store) sweepEntries() error {
	names, err := os.ReadDir(filepath.Join(s.dir, "entries"))
	if err != nil {
		return err
	}
	for _, n := range names {
		if s.exists(strings.TrimSuffix(n.Name(), ".json")) {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, "entries", n.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// tooOld tells a step that its element wants to have made anew.
func (e entryStep) tooOld() bool { return e.MaxAge > 0 && time.Since(e.Made) > e.MaxAge }
