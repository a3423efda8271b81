package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Summary is what a finished build has to say.
type Summary struct {
	Files       []OutputFile
	Reused, Ran int         // steps; both zero: as counted by Hook
	Stages      []StageTime // nil: as timed by Stage
	Took        time.Duration
	Arch        string // of a disk that boots; empty: no hint on how to start it

	LargeSectors bool // the disks have sectors of 4096 bytes
}

// OutputFile is one output.
type OutputFile struct {
	Path   string // as the user wrote it; for docker what was pushed
	Format string
	Disk   string // the node; empty for formats of the tree
	Size   int64  // bytes; zero: not known
	Digest string // of what was pushed; empty for files
	Kept   bool   // it was there already and is still right
}

// Summary says what was made, what was reused and where the time went.
func (u *ui) Summary(s Summary) {
	if s.Reused == 0 && s.Ran == 0 {
		s.Reused, s.Ran = u.Steps()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sayReused()
	if s.Stages == nil {
		s.Stages = u.stages
	}
	lines := s.lines()
	if hint := s.startHint(); hint != "" {
		lines = append(lines, "start it: "+hint)
	}
	for _, line := range lines {
		u.record(line)
		u.screen.line(line)
	}
}

func (s Summary) lines() []string {
	var lines []string
	for _, f := range s.Files {
		lines = append(lines, f.String())
	}
	if s.Reused+s.Ran == 0 {
		return append(lines, "nothing to do: all is as it was made; "+shortDuration(s.Took))
	}
	lines = append(lines, fmt.Sprintf("%s reused, %d run; %s", count(s.Reused, "step"), s.Ran, shortDuration(s.Took)))
	var times []string
	for _, st := range s.Stages {
		if st.Took >= 50*time.Millisecond {
			times = append(times, fmt.Sprintf("%s %s", st.Name, shortDuration(st.Took)))
		}
	}
	if len(times) > 0 {
		lines = append(lines, "time: "+strings.Join(times, ", "))
	}
	return lines
}

func (f OutputFile) String() string {
	text := f.Path
	if f.Size > 0 {
		text += "  " + sizeText(f.Size)
	}
	if used := diskUse(f.Path); f.Digest == "" && used > 0 && used < f.Size*9/10 {
		text += " (" + sizeText(used) + " on disk)"
	}
	if f.Digest != "" {
		text += "  " + f.Digest
	}
	if f.Kept {
		text += "  unchanged"
	}
	return text
}

// diskUse is what a file takes on its disk, in bytes; zero where there is none.
func diskUse(path string) int64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Blocks * 512
}

// startHint is the command that starts the disk images in QEMU: all disks in
// one format, the disk of / first.
func (s Summary) startHint() string {
	machine := map[string]string{
		"amd64": "qemu-system-x86_64 -m 1024",
		"arm64": "qemu-system-aarch64 -M virt -cpu max -m 1024 -bios /usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
	}[s.Arch]
	format := ""
	for _, f := range s.Files {
		if format == "" && (f.Format == "qcow2" || f.Format == "raw") {
			format = f.Format
		}
	}
	if machine == "" || format == "" {
		return ""
	}
	if s.LargeSectors && s.Arch == "amd64" { // a BIOS reads none
		machine += " -machine q35 -bios /usr/share/ovmf/OVMF.fd"
	}
	if s.Arch == hostArch() {
		machine += kvmFlag()
	}
	text := machine + " -nographic -nic user,model=virtio-net-pci"
	for _, f := range s.Files {
		if f.Format == format {
			text += s.drive(f)
		}
	}
	return text
}

func (s Summary) drive(f OutputFile) string {
	path := strings.ReplaceAll(f.Path, ",", ",,")
	if !s.LargeSectors {
		return fmt.Sprintf(" -drive file=%s,format=%s,if=virtio", shellWord(path), f.Format)
	}
	id := "disk-" + f.Disk
	return " -drive " + shellWord("if=none,id="+id+",file="+path+",format="+f.Format) +
		" -device " + shellWord("virtio-blk-pci,drive="+id+",logical_block_size=4096,physical_block_size=4096")
}

// kvmFlag asks for hardware help where this user has it.
func kvmFlag() string {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return ""
	}
	f.Close()
	return " -accel kvm -accel tcg"
}

// shellWord quotes a word for a shell where it needs to be.
func shellWord(w string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:=,+@%", r)
	}
	if w != "" && strings.TrimFunc(w, safe) == "" && filepath.Clean(w) != "" {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// sizeText is a size for people, in powers of 1024.
func sizeText(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", gib}, {"MiB", mib}, {"KiB", kib}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// shortDuration is a duration for people: 0.4s, 12.3s, 4m05s.
func shortDuration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	seconds := int64(d.Round(time.Second).Seconds())
	if seconds < 3600 {
		return fmt.Sprintf("%dm%02ds", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%dh%02dm%02ds", seconds/3600, seconds/60%60, seconds%60)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
