package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containers/common/pkg/config"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/ioutils"
	"github.com/sirupsen/logrus"
)

// mountOptions: volatile spares the flush at unmount (see the package comment).
// The others pin the kernel's defaults, which distributions change: the diff
// folders must be complete and plain. nofollow, as redirect_dir=off is refused
// together with userxattr.
const mountOptions = "overlay.mountopt=volatile,index=off,metacopy=off,redirect_dir=nofollow"

func openStorage(root, runRoot, work string) (st storage.Store, err error) {
	tameLibraries()
	// The library reads the user's configuration once; we need the user's own
	// XDG_RUNTIME_DIR in it, for images that go to the user's store. It is read
	// from the environment here because the library reads it there, and nothing
	// that a caller said could be told to it.
	if os.Getenv("XDG_RUNTIME_DIR") != "" {
		if _, err := storage.DefaultStoreOptions(); err != nil {
			return nil, fmt.Errorf("reading storage.conf: %w", err)
		}
	}
	// Without XDG_RUNTIME_DIR the libraries leave an ordinary user folders in
	// /tmp, when they read their configuration for the first time.
	err = withEnv("XDG_RUNTIME_DIR", work, func() error {
		if _, err := config.Default(); err != nil {
			return fmt.Errorf("reading containers.conf: %w", err)
		}
		st, err = storage.GetStore(storage.StoreOptions{
			GraphRoot:       root,
			RunRoot:         runRoot,
			GraphDriverName: "overlay",
			GraphDriverOptions: []string{
				mountOptions,
				"overlay.skip_mount_home=true", // else a bind mount of ROOT/overlay stays behind
			},
		})
		return err
	})
	return st, err
}

// tameLibraries sets what containers/storage and buildah keep in globals. Their
// log goes to stderr; what matters comes back as an error. Their small files
// (mount counts, image lists) are flushed one by one: mount counts need not
// survive, and images are made once per store and followed by a syncfs of ours.
// The list of layers keeps its own flush.
var tameLibraries = sync.OnceFunc(func() {
	logrus.SetOutput(io.Discard)
	ioutils.SetDefaultOptions(ioutils.AtomicFileWriterOptions{NoSync: true})
})

var envMu sync.Mutex

// withEnv runs do while an environment variable is set. The libraries decide by
// the environment alone where they leave temporary files; these must go where
// the next Open clears them after a crash.
func withEnv(name, value string, do func() error) error {
	envMu.Lock()
	defer envMu.Unlock()
	old, was := os.LookupEnv(name)
	if err := os.Setenv(name, value); err != nil {
		return err
	}
	err := do()
	if was {
		return errors.Join(err, os.Setenv(name, old))
	}
	return errors.Join(err, os.Unsetenv(name))
}
