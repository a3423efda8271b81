package loop_test

import (
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
	"github.com/lithify/lithify/blockdev/physical"
)

func TestPhysical(t *testing.T) {
	blockdevtest.NeedRoot(t)
	newBackend := func(dir string, o physical.Options) blockdev.Backend {
		return loop.New(loop.Options{WorkDir: dir, Physical: o})
	}
	blockdevtest.Physical(t, newBackend, blockdevtest.Capabilities{Mounts: true, Devices: true})
}
