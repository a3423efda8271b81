package main

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// workMemory is a tmpfs of a build, made when it is first wanted: it takes the
// raw disks, and with --no-layers the layers, where they fit. When it runs full
// the build starts again on disk.
type workMemory struct {
	dir  string // "" while there is none
	full atomic.Bool
	stop func()
}

// roomFor is a folder for so many bytes: in memory, when the machine has as much
// as --min-tmpfs asks for, half of it at least twice that, as diskimage-builder
// has it, and when half of what is free of it will do; else the work folder.
func (j *job) roomFor(need int64) (string, error) {
	if j.memory.dir != "" {
		if free, _, err := room(j.memory.dir); err == nil && need <= free {
			return j.memory.dir, nil
		}
		return j.work, nil
	}
	total, available, err := memory()
	if err != nil || j.o.NoTmpfs || total < 2*j.o.MinTmpfs || need > available/2 {
		return j.work, nil
	}
	if err := j.mountMemory(available / 2); err != nil {
		return "", err
	}
	return j.memory.dir, nil
}

func (j *job) mountMemory(size int64) error {
	dir := filepath.Join(j.work, "memory")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("lithify", dir, "tmpfs", 0, fmt.Sprintf("mode=0755,size=%d", size)); err != nil {
		return fmt.Errorf("mounting a tmpfs of %s for the build: %w; --no-tmpfs does without", sizeText(size), err)
	}
	j.undo = append(j.undo, func() error { return unix.Unmount(dir, unix.MNT_DETACH) })
	j.memory.dir = dir
	j.memory.watch()
	j.undo = append(j.undo, func() error { j.memory.stop(); return nil })
	return nil
}

// layersInMemory says where the layers of a build that keeps none go: "" for
// the store of always. How much they will take nobody knows; a failure for want
// of room is made good by starting again.
func (j *job) layersInMemory() (string, error) {
	if !j.o.NoLayers {
		return "", nil
	}
	dir, err := j.roomFor(j.o.MinTmpfs)
	if err != nil || dir == j.work {
		return "", err
	}
	return filepath.Join(dir, "store"), nil
}

// watch notes when the tmpfs has been as good as full: what filled it is often
// gone again by the time somebody asks.
func (m *workMemory) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	go func() {
		for ctx.Err() == nil {
			if free, size, err := room(m.dir); err == nil && free < size/64 {
				m.full.Store(true)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
}

// ranOut says whether err may come from memory being full; tail are the last
// lines of hooks.
func (m *workMemory) ranOut(err error, tail []string) bool {
	return m.dir != "" && (m.full.Load() || ranFull(err, tail))
}

// room is what is free on a file system, and its size, in bytes.
func room(dir string) (free, size int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	return int64(fs.Bavail) * fs.Bsize, int64(fs.Blocks) * fs.Bsize, nil
}

// memory gives the machine's memory and what of it is free for a build, in
// bytes, with the limit of the control group where there is one.
func memory() (total, available int64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "MemTotal:":
			total = n * kib
		case "MemAvailable:":
			available = n * kib
		}
	}
	return total, min(available, groupLimit()), lines.Err()
}

// groupLimit is what the control groups of this process still allow; very much
// without one. Each group above may have a limit, too; in a container the
// topmost that is seen is the container's own.
func groupLimit() int64 {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return math.MaxInt64
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for group := filepath.Clean("/" + parts[2]); ; group = filepath.Dir(group) {
			switch parts[1] {
			case "":
				least = min(least, groupRoom(filepath.Join("/sys/fs/cgroup", group), "memory.max", "memory.current"))
			case "memory":
				least = min(least, groupRoom(filepath.Join("/sys/fs/cgroup/memory", group), "memory.limit_in_bytes", "memory.usage_in_bytes"))
			}
			if group == "/" {
				break
			}
		}
	}
	return least
}

func groupRoom(dir, limit, used string) int64 {
	most, err := readInt(filepath.Join(dir, limit))
	if err != nil { // none: "max", or no such file
		return math.MaxInt64
	}
	now, err := readInt(filepath.Join(dir, used))
	if err != nil {
		return most
	}
	return max(0, most-now)
}

func readInt(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}
