package loop

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/lvm"
)

// group is a volume group. LVM's own programs make it, under a name and ids that
// nobody else has, with the physical volumes' the plan's: the host may have a group
// of the final name, or this very one. They see the group's own devices alone, and
// keep what they write down in the work folder. To the host's LVM the group is
// another system's, which it leaves alone. When it is deactivated, package lvm
// writes its metadata once more, under the final name and ids.
type group struct {
	disk *disk
	plan *blockdev.VolumePlan
	name string
	text []byte // its metadata to be
}

func (g *group) make(ctx context.Context) error {
	d, p := g.disk, g.plan.Group
	if err := g.configure(); err != nil {
		return err
	}
	if err := d.journal.note("group", g.name); err != nil {
		return err
	}
	bases := d.bases(g.plan)
	for i, v := range p.Physical {
		err := g.lvm(ctx, "pvcreate", "--yes", "--uuid", v.ID, "--norestorefile", "--dataalignment", bytesOf(max(p.Alignment, 1<<20)), bases[i])
		if err != nil {
			return fmt.Errorf("physical volume %q: %w", v.Node, err)
		}
	}
	if err := g.lvm(ctx, "vgcreate", append([]string{"--physicalextentsize", bytesOf(p.Extent), g.name}, bases...)...); err != nil {
		return err
	}
	// Thin volumes come last: they have no place in the group, and want their pool.
	thin := func(a, b blockdev.LogicalPlan) int {
		return cmp.Compare(min(1, len(a.ThinPool)), min(1, len(b.ThinPool)))
	}
	for _, l := range slices.SortedStableFunc(slices.Values(p.Logical), thin) {
		if err := g.makeLogical(ctx, l); err != nil {
			return fmt.Errorf("logical volume %q: %w", l.Node, err)
		}
	}
	return g.readText(ctx)
}

func (g *group) makeLogical(ctx context.Context, l blockdev.LogicalPlan) error {
	if err := g.lvm(ctx, "lvcreate", append(createLogical(l, g.plan.Group.Extent), g.name)...); err != nil || l.Pool {
		return err
	}
	return g.disk.open(l.Node, filepath.Join("/dev/mapper", lvm.MapperName(g.name, l.Node)), l.Size)
}

// createLogical are lvcreate's arguments but for the group. Nothing is zeroed or
// looked for: what is to be there is written.
func createLogical(l blockdev.LogicalPlan, extent int64) []string {
	extents := strconv.FormatInt(l.Size/extent, 10)
	args := []string{"--yes", "--name", l.Node}
	switch {
	case l.Pool:
		return append(args, "--type", "thin-pool", "--extents", extents, "--chunksize", bytesOf(l.Chunk), "--poolmetadatasize", bytesOf(l.Metadata),
			"--poolmetadataspare", "y", "--zero", "y")
	case l.ThinPool != "":
		return append(args, "--type", "thin", "--thinpool", l.ThinPool, "--virtualsize", bytesOf(l.Size), "--wipesignatures", "n")
	}
	args = append(args, "--wipesignatures", "n", "--zero", "n", "--extents", extents)
	if l.Stripes > 1 {
		args = append(args, "--stripes", strconv.Itoa(l.Stripes))
		if l.StripeSize != 0 {
			args = append(args, "--stripesize", bytesOf(l.StripeSize))
		}
	}
	return args
}

func bytesOf(n int64) string { return strconv.FormatInt(n, 10) + "b" }

// readText has LVM tell the group's metadata, and makes of it the final one.
func (g *group) readText(ctx context.Context) error {
	backup := filepath.Join(g.dir(), "backup")
	if err := g.lvm(ctx, "vgcfgbackup", "--file", backup, g.name); err != nil {
		return err
	}
	data, err := os.ReadFile(backup)
	if err != nil {
		return err
	}
	g.text, err = g.final().Restate(data)
	return err
}

// final is the group of the plan.
func (g *group) final() lvm.Group { return g.plan.LVM(g.disk.time()) }

// dir is LVM's system folder for this group.
func (g *group) dir() string { return filepath.Join(g.disk.work, g.name) }

func (g *group) lvm(ctx context.Context, command string, args ...string) error {
	_, err := g.disk.volumeTool(ctx, call{env: []string{"LVM_SYSTEM_DIR=" + g.dir()}}, "lvm", append([]string{command, "--quiet"}, args...)...)
	return err
}

// configure writes an lvm.conf (lvm.conf(5)) that knows nothing but the group. A thin
// pool that is full says so at once; Restate takes that out again, since a running
// system may wait for more.
func (g *group) configure() error {
	dir := g.dir()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	g.disk.undo.push(func() error { return os.RemoveAll(dir) })
	var filter, scan []string
	for _, path := range g.disk.bases(g.plan) {
		filter = append(filter, strconv.Quote("a|^"+regexp.QuoteMeta(path)+"$|"))
		if folder := strconv.Quote(filepath.Dir(path)); !slices.Contains(scan, folder) {
			scan = append(scan, folder)
		}
	}
	filter = append(filter, `"r|.*|"`)
	var b bytes.Buffer
	fmt.Fprintf(&b, lvmConfiguration, strings.Join(scan, ", "), strings.Join(filter, ", "), dir, g.disk.journal.tag)
	return os.WriteFile(filepath.Join(dir, "lvm.conf"), b.Bytes(), 0o600)
}

const lvmConfiguration = `devices {
	scan = [ %s ]
	filter = [ %[2]s ]
	global_filter = [ %[2]s ]
	use_devicesfile = 0
	hints = "none"
	obtain_device_list_from_udev = 0
	external_device_info_source = "none"
	md_component_detection = 0
	multipath_component_detection = 0
	fw_raid_component_detection = 0
	scan_lvs = 1
	allow_mixed_block_sizes = 1
	data_alignment_detection = 0
	data_alignment_offset_detection = 0
	md_chunk_alignment = 0
	default_data_alignment = 1
}
activation {
	udev_sync = 0
	udev_rules = 0
	monitoring = 0
	error_when_full = 1
}
backup {
	backup = 0
	archive = 0
}
global {
	locking_dir = "%[3]s"
	use_lvmpolld = 0
	use_lvmlockd = 0
	thin_check_executable = ""
	notify_dbus = 0
	event_activation = 0
	system_id_source = "lvmlocal"
}
local {
	system_id = "%[4]s"
}
`

func (g *group) finish() error {
	if err := g.letGo(); err != nil {
		return err
	}
	if err := g.lvm(context.Background(), "vgchange", "--activate", "n", g.name); err != nil {
		return err
	}
	return g.disk.rewrite(g.plan, func(below []*os.File) error {
		var devices []lvm.Device
		for _, f := range below {
			devices = append(devices, f)
		}
		return g.final().WriteText(g.text, devices)
	})
}

// letGo closes the group's volumes.
func (g *group) letGo() error {
	var all []error
	for _, l := range g.plan.Group.Logical {
		all = append(all, g.disk.closeVolume(l.Node))
	}
	return errors.Join(all...)
}

// drop removes the mappings and does not ask LVM: the group itself goes with its
// devices.
func (g *group) drop() error {
	s := sweep{lock: g.disk.journal.file, groups: []string{g.name}}
	var all []error
	for _, l := range g.plan.Group.Logical {
		all = append(all, g.disk.forget(l.Node))
	}
	return errors.Join(append(all, s.run(context.Background()))...)
}
