package loop

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/lvm"
)

// poolFull finds out whether a write to a device failed since the thin pool below it
// has nothing left: the kernel tells file systems of an input/output error.
func (d *disk) poolFull(device string, err error) error {
	if !errors.Is(err, unix.EIO) {
		return err
	}
	for _, pool := range d.thinPools(device) {
		status, failed := d.volumeTool(context.Background(), call{}, "dmsetup", "status", pool.mapping)
		if failed == nil && exhausted(status) {
			return fmt.Errorf("thin pool %q is full: %w (%w)", pool.node, unix.ENOSPC, err)
		}
	}
	return err
}

// thinPool is a pool: its node, and the mapping that gives blocks away.
type thinPool struct{ node, mapping string }

// thinPools are those that a device takes blocks from, at whatever depth.
func (d *disk) thinPools(device string) []thinPool {
	var all []thinPool
	for _, m := range d.made {
		if m.plan != d.plan.Volume(device) {
			continue
		}
		if g, ok := m.volume.(*group); ok {
			for _, l := range g.plan.Group.Logical {
				if l.Node == device && l.ThinPool != "" {
					all = append(all, thinPool{l.ThinPool, lvm.MapperName(g.name, l.ThinPool) + "-tpool"})
				}
			}
		}
		for _, b := range m.plan.Bases {
			all = append(all, d.thinPools(b)...)
		}
	}
	return all
}

// exhausted reads the status of a pool (kernel: device-mapper/thin-provisioning.rst):
// START LENGTH thin-pool TRANSACTION META/META USED/TOTAL ROOT MODE … Once writes have
// failed a block may be free again, and the mode that of a pool with room.
func exhausted(status string) bool {
	words := strings.Fields(status)
	if len(words) < 8 {
		return false
	}
	var used, total int64
	if _, err := fmt.Sscanf(words[5], "%d/%d", &used, &total); err != nil {
		return false
	}
	return total-used <= total/64 || words[7] == "out_of_data_space"
}
