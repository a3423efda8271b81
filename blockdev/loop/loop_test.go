package loop_test

import (
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

func newBackend(_ testing.TB, dir string) blockdev.Backend {
	return loop.New(loop.Options{WorkDir: dir})
}

func TestConformance(t *testing.T) {
	blockdevtest.NeedRoot(t)
	if err := loop.Available(); err != nil {
		blockdevtest.Missing(t, err.Error())
	}
	blockdevtest.Run(t, newBackend, blockdevtest.Capabilities{Mounts: true, Devices: true, XFS: true})
}
