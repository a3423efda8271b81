package file_test

import (
	"os"
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/guest"
)

// TestMain gives the tests a mount namespace: the back end binds.
func TestMain(m *testing.M) {
	if os.Getenv(childTree) != "" {
		os.Exit(child())
	}
	if parts := os.Getenv(guestParts); parts != "" {
		os.Exit(compareInGuest(parts))
	}
	guest.OwnMounts()
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	blockdevtest.NeedRoot(t)
	newBackend := func(_ testing.TB, dir string) blockdev.Backend { return file.New(file.Options{WorkDir: dir}) }
	blockdevtest.Run(t, newBackend, blockdevtest.Capabilities{})
}
