package physical

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// number is a device number.
type number struct{ major, minor uint32 }

func numberOf(rdev uint64) number { return number{unix.Major(rdev), unix.Minor(rdev)} }

func (n number) String() string { return fmt.Sprintf("%d:%d", n.major, n.minor) }

// sys is the device's folder in sysfs.
func (n number) sys() string { return "/sys/dev/block/" + n.String() }

func parseNumber(text string) (number, bool) {
	major, minor, _ := strings.Cut(strings.TrimSpace(text), ":")
	a, errA := strconv.ParseUint(major, 10, 32)
	b, errB := strconv.ParseUint(minor, 10, 32)
	return number{uint32(a), uint32(b)}, errA == nil && errB == nil
}

// whole is the disk of a partition; of a disk itself.
func (n number) whole() number {
	if _, err := os.Stat(n.sys() + "/partition"); err != nil {
		return n
	}
	text, err := os.ReadFile(n.sys() + "/../dev")
	if w, ok := parseNumber(string(text)); err == nil && ok {
		return w
	}
	return n
}

// parts are the device and its partitions, with the names to call them by.
func (n number) parts(path string) (map[number]string, error) {
	all := map[number]string{n: fmt.Sprintf("%q", path)}
	entries, err := os.ReadDir(n.sys())
	if errors.Is(err, fs.ErrNotExist) { // no sysfs, as in some containers: O_EXCL tells
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(n.sys(), e.Name(), "dev"))
		if _, is := os.Stat(filepath.Join(n.sys(), e.Name(), "partition")); is != nil || err != nil {
			continue
		}
		if p, ok := parseNumber(string(text)); ok {
			all[p] = fmt.Sprintf("its partition /dev/%s", e.Name())
		}
	}
	return all, nil
}

// used says what a device or a partition of it is used for, "" for nothing that
// can be seen. In another mount namespace there may be more.
func used(n number, path string) (string, error) {
	parts, err := n.parts(path)
	if err != nil {
		return "", err
	}
	for _, look := range []func(map[number]string) (string, error){mountedAt, swappedTo, heldBy, behindLoop} {
		if why, err := look(parts); why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

// mountedAt looks for mounts of the devices.
func mountedAt(parts map[number]string) (string, error) {
	mounts, err := Mounts()
	for _, m := range mounts {
		n, _ := parseNumber(m.Device)
		if parts[n] == "" && filepath.IsAbs(m.Source) { // btrfs
			n = deviceNumber(m.Source)
		}
		if name := parts[n]; name != "" {
			return fmt.Sprintf("%s is mounted at %s", name, m.Target), nil
		}
	}
	return "", err
}

func swappedTo(parts map[number]string) (why string, err error) {
	err = eachLine("/proc/swaps", func(words []string) {
		if len(words) > 0 && parts[deviceNumber(words[0])] != "" && why == "" {
			why = parts[deviceNumber(words[0])] + " is swapped to"
		}
	})
	return why, err
}

// deviceNumber is zero for what is no block device.
func deviceNumber(path string) number {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return number{}
	}
	return numberOf(st.Rdev)
}

func heldBy(parts map[number]string) (string, error) {
	for n, name := range parts {
		holders, err := os.ReadDir(n.sys() + "/holders")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if len(holders) > 0 {
			return fmt.Sprintf("%s is part of /dev/%s", name, holders[0].Name()), nil
		}
	}
	return "", nil
}

// behindLoop looks for loop devices over one of the devices: they claim nothing.
func behindLoop(parts map[number]string) (string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if name := parts[deviceNumber(strings.TrimSuffix(string(text), "\n"))]; err == nil && name != "" {
			return fmt.Sprintf("%s is behind /dev/%s", name, filepath.Base(filepath.Dir(filepath.Dir(file)))), nil
		}
	}
	return "", nil
}

func eachLine(file string, do func(words []string)) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) { // a kernel without swap
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		do(strings.Fields(lines.Text()))
	}
	return lines.Err()
}
