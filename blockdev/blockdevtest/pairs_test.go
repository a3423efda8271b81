package blockdevtest_test

import (
	"os"
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/guest"
	"github.com/lithify/lithify/blockdev/loop"
)

// TestMain gives the tests a mount namespace: the file back end binds.
func TestMain(m *testing.M) {
	guest.OwnMounts()
	os.Exit(m.Run())
}

func TestPairs(t *testing.T) {
	if err := loop.Available(); err != nil {
		blockdevtest.NeedRoot(t)
		blockdevtest.Missing(t, err.Error())
	}
	blockdevtest.Pairs(t,
		func(_ testing.TB, dir string) blockdev.Backend { return loop.New(loop.Options{WorkDir: dir}) },
		func(_ testing.TB, dir string) blockdev.Backend { return file.New(file.Options{WorkDir: dir}) })
}
