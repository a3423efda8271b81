package rootfs

import (
	"context"
	"errors"
	"time"
)

// Key names a step's result: the lower-case hexadecimal SHA-256 over all that
// the step's result depends on. It is safe as a file name.
type Key string

// Layer is a finished step's result. It stands for the whole stack below it.
type Layer interface {
	// ID names the layer in its store. It is safe as a file name.
	ID() string
}

// Bind is a bind mount that a hook outside the target left in the tree, a
// package cache usually. It is made again for every later step.
type Bind struct {
	Source   string // absolute path outside the tree
	Target   string // absolute path inside the tree
	ReadOnly bool
}

// Record is what is kept about a sealed step.
type Record struct {
	Key     Key
	Parent  Key               // the key of the step below; empty for the first
	Layer   string            // Layer.ID; the parent's, when the step changed nothing
	Phase   string            // "install"; "driver" for the driver's own deeds
	Element string            // the element the hook came from
	Name    string            // the hook's file name, or the deed's name
	Made    time.Time         // when it was sealed; set by the store
	MaxAge  time.Duration     // not reused when older; zero means no limit
	Took    time.Duration     // how long the step ran
	Binds   []Bind            // all binds to make on top of this layer
	Inputs  map[string]string // named digests of what went into Key, for explaining a rebuild
}

var (
	// ErrNotFound says that no sealed layer has the key.
	ErrNotFound = errors.New("no such layer")
	// ErrMade says that another build sealed the key while the claim waited.
	ErrMade = errors.New("made by another build meanwhile")
)

// Store keeps layers and lets builds share them. All methods are safe for
// several processes on one store, and for several goroutines.
//
// A build holds (a lock shared over processes) every layer that it got from
// Find, Base or Seal, until the store is closed, so that pruning harms no build.
type Store interface {
	// Base returns the empty tree that every first step stands on.
	Base(ctx context.Context) (Layer, error)
	// Find returns the sealed layer of k, held until the store is closed, and
	// its record. A key that is not there, or older than its record's MaxAge,
	// gives ErrNotFound.
	Find(ctx context.Context, k Key) (Layer, Record, error)
	// Claim makes this build the only one that makes k, over all processes. It
	// waits while another holds the claim, and returns ErrMade when that other
	// sealed k.
	Claim(ctx context.Context, k Key) (Claim, error)
	// Scratch returns a container on parent whose changes are never kept: to
	// read a finished tree, or to change it for one output only.
	Scratch(ctx context.Context, parent Layer) (Container, error)
}

// Claim is the exclusive right to make one key.
type Claim interface {
	// Container mounts a fresh layer on parent, which may be sealed or only
	// finished by this process.
	Container(ctx context.Context, parent Layer) (Container, error)
	// Seal makes the finished layer durable and reusable under the claim's key,
	// together with every finished layer below it that is not sealed. All
	// Seal calls of one build that follow each other cost one syncfs.
	// rec.Key is the claimed key.
	Seal(ctx context.Context, l Layer, rec Record) error
	// Close gives the claim up. What was not sealed is dropped when nothing of
	// this process stands on it any more.
	Close() error
}

// Container is a mounted writable layer.
type Container interface {
	// Dir is the tree: the mount point of the layer on its parent.
	Dir() string
	// Changes is the folder that holds only what this layer changed, in the
	// kernel's overlay form: a character device 0:0 is a deletion, the xattr
	// trusted.overlay.opaque (user.overlay.opaque in a user namespace) on a
	// folder hides the folder below.
	Changes() string
	// Finish unmounts. The layer is then a parent for this process only, until
	// it is sealed. One that changed nothing gives its parent back.
	Finish(ctx context.Context) (Layer, error)
	// Close unmounts and drops the layer unless Finish has been called.
	Close() error
}
