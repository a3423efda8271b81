package lvm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	os.Exit(m.Run())
}

// need skips on a machine without root or a tool, and fails there under CI=true.
func need(t *testing.T, root bool, tools ...string) {
	t.Helper()
	missing := ""
	if root && os.Geteuid() != 0 {
		missing = "root"
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = tool
		}
	}
	switch {
	case missing == "":
	case os.Getenv("CI") == "true":
		t.Fatalf("needs %s, and CI=true lets nothing be skipped", missing)
	default:
		t.Skipf("needs %s", missing)
	}
}

const mib = 1 << 20

func testID(name string) string { return ID(sha256.Sum256([]byte(name))) }

// group makes a group with ids: pvs by size, in bytes.
func group(extent int64, pvs []int64, lvs ...Logical) Group {
	g := Group{Name: "vg", ID: testID("vg"), ExtentSize: extent, Time: time.Unix(1700000000, 0)}
	for i, size := range pvs {
		g.Volumes = append(g.Volumes, Physical{ID: testID(fmt.Sprint("pv", i)), Size: size})
	}
	for _, l := range lvs {
		l.ID = testID("lv " + l.Name)
		g.Logical = append(g.Logical, l)
	}
	return g
}

func layout(t testing.TB, g Group) *Layout {
	t.Helper()
	l, err := g.Layout()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// disk is a sparse file.
func disk(t testing.TB, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

// disks makes a file for every physical volume of the group.
func disks(t testing.TB, g Group) ([]*os.File, []Device) {
	t.Helper()
	var files []*os.File
	var devices []Device
	for _, p := range g.Volumes {
		f := disk(t, p.Size)
		files, devices = append(files, f), append(devices, f)
	}
	return files, devices
}

// written makes the group's files with its metadata on them.
func written(t testing.TB, g Group) (*Layout, []*os.File, []Device) {
	t.Helper()
	l := layout(t, g)
	files, devices := disks(t, g)
	if err := l.WriteMetadata(devices); err != nil {
		t.Fatal(err)
	}
	return l, files, devices
}

// loops puts files behind loop devices that go with the test, however it ends:
// they are AUTOCLEAR and open here alone.
func loops(t testing.TB, files []*os.File) []string {
	t.Helper()
	return loopsOf(t, files, sector)
}

func loopsOf(t testing.TB, files []*os.File, sectorSize uint32) []string {
	t.Helper()
	var paths []string
	for _, f := range files {
		path, err := loop(t, f, sectorSize)
		for try := 0; errors.Is(err, unix.EBUSY) && try < 50; try++ { // somebody else was quicker
			path, err = loop(t, f, sectorSize)
		}
		if err != nil {
			t.Fatalf("loop device: %v", err)
		}
		paths = append(paths, path)
	}
	return paths
}

func loop(t testing.TB, f *os.File, sectorSize uint32) (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", err
	}
	path := fmt.Sprintf("/dev/loop%d", n)
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n)))); err == nil {
		t.Cleanup(func() { os.Remove(path) })
	}
	d, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	config := unix.LoopConfig{Fd: uint32(f.Fd()), Size: sectorSize}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if err := unix.IoctlLoopConfigure(int(d.Fd()), &config); err != nil {
		return "", errors.Join(err, d.Close())
	}
	t.Cleanup(func() { d.Close() })
	return path, nil
}

// host runs LVM's tools on some devices and nothing else: settings, locks and
// what they keep are in a folder of the test's, and device-mapper is not asked.
type host struct {
	t       testing.TB
	dir     string
	devices []string
}

func newHost(t testing.TB, devices []string) host {
	t.Helper()
	dir := t.TempDir()
	filter := ""
	for _, d := range devices {
		filter += fmt.Sprintf("%q, ", "a|^"+d+"$|")
	}
	conf := fmt.Sprintf(`devices {
	global_filter = [ %s"r|.*|" ]
	use_devicesfile = 0
	hints = "none"
	obtain_device_list_from_udev = 0
	multipath_component_detection = 0
	md_component_detection = 0
}
global {
	locking_dir = "%s/lock"
	use_lvmpolld = 0
	event_activation = 0
}
backup {
	backup = 0
	archive = 0
}
activation {
	udev_sync = 0
	udev_rules = 0
	monitoring = 0
}
`, filter, dir)
	err := errors.Join(os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(conf), 0o644), os.Mkdir(filepath.Join(dir, "lock"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return host{t, dir, devices}
}

const noMapper = "WARNING: Activation disabled. No device-mapper interaction will be attempted."

// try returns what a tool says, both streams, without what it always says.
func (h host) try(tool string, args ...string) (string, error) {
	args = append([]string{tool, "--driverloaded", "n"}, args...)
	cmd := exec.Command("lvm", args...)
	cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+h.dir, "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	var lines []string
	for _, line := range strings.Split(string(out), "\n") {
		if line = strings.TrimSpace(line); line != "" && line != noMapper {
			lines = append(lines, line)
		}
	}
	said := strings.Join(lines, "\n")
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, said)
	}
	return said, err
}

func (h host) run(tool string, args ...string) string {
	h.t.Helper()
	said, err := h.try(tool, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return said
}

// state is what LVM says of the group: everything that ours and its own must
// have in common. The devices are called pv0, pv1, …
func (h host) state() string {
	h.t.Helper()
	said := h.run("fullreport", "--noheadings", "--nosuffix", "--units", "b", "--separator", "|",
		"--configreport", "vg", "-o", "vg_name,vg_attr,vg_fmt,vg_size,vg_free,vg_extent_size,vg_extent_count,vg_free_count,pv_count,lv_count,vg_mda_count,vg_mda_copies,vg_tags",
		"--configreport", "pv", "-o", "pv_name,pv_attr,pv_size,pv_free,dev_size,pe_start,pv_pe_count,pv_pe_alloc_count,pv_mda_count,pv_mda_size,pv_ext_vsn,pv_in_use,pv_tags",
		"--configreport", "lv", "-o", "lv_name,lv_attr,lv_size,seg_count,lv_tags",
		"--configreport", "pvseg", "-o", "pv_name,pvseg_start,pvseg_size,lv_name",
		"--configreport", "seg", "-o", "lv_name,segtype,stripes,stripe_size,seg_start_pe,seg_size_pe,seg_pe_ranges")
	if strings.Contains(said, "WARNING") {
		h.t.Errorf("fullreport: %s", said)
	}
	lines := strings.Split(h.positions(said+"\n"), "\n") // in the order of loop devices' names
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// positions calls devices by their position.
func (h host) positions(said string) string {
	var pairs []string
	for i, d := range h.devices {
		for _, end := range []string{"|", ":", "(", "\n"} { // loop1 is no part of loop10
			pairs = append(pairs, d+end, fmt.Sprintf("pv%d%s", i, end))
		}
	}
	return strings.NewReplacer(pairs...).Replace(said)
}

// clean lets vgck and pvck judge.
func (h host) clean(vg string) {
	h.t.Helper()
	if said := h.run("vgck", vg); said != "" {
		h.t.Errorf("vgck: %s", said)
	}
	for _, d := range h.devices {
		said := h.run("pvck", "--dump", "headers", d)
		if !strings.Contains(said, " # vgname "+vg+" seqno ") || strings.Contains(said, "CHECK") {
			h.t.Errorf("pvck --dump headers: %s", said)
		}
	}
}

// create makes the group with LVM's own tools.
func (h host) create(g Group) {
	h.t.Helper()
	for i, d := range h.devices { // vgcreate makes the others
		if a := g.Volumes[i].DataAlignment; a != 0 {
			h.run("pvcreate", "--dataalignment", fmt.Sprintf("%db", a), d)
		}
	}
	args := []string{"-s", fmt.Sprintf("%db", g.extentSize())}
	for _, tag := range g.Tags {
		args = append(args, "--addtag", tag)
	}
	h.run("vgcreate", append(append(args, g.Name), h.devices...)...)
	for _, l := range g.Logical {
		args := []string{"-an", "-Zn", "-Wn", "-L", fmt.Sprintf("%db", l.Size), "-n", l.Name, g.Name}
		if l.Stripes > 1 {
			args = append(args, "-i", fmt.Sprint(l.Stripes))
			if l.StripeSize != 0 {
				args = append(args, "-I", fmt.Sprintf("%db", l.StripeSize))
			}
		}
		if l.ReadOnly {
			args = append(args, "-pr")
		}
		for _, tag := range l.Tags {
			args = append(args, "--addtag", tag)
		}
		h.run("lvcreate", args...)
	}
}
