package boot

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// ErrNoDevice marks a question that only a real block device can answer.
var ErrNoDevice = errors.New("not known without a block device: use --backend loop")

// Layout is what boot code has to know of the planned disks. The zero value is
// a build without any file system, about which nothing can be answered.
type Layout struct {
	FileSystems []FileSystem `json:"file_systems"`
	NoBIOS      string       `json:"no_bios"` // why no BIOS can start the disk of /; "" when one can
}

// FileSystem is one planned file system and where it lies.
type FileSystem struct {
	Mount string `json:"mount"` // absolute mount point; "" when it has none (swap)
	Type  string `json:"type"`  // mkfs's name: ext4, xfs, vfat …
	Label string `json:"label"`
	UUID  string `json:"uuid"` // as blkid prints it

	Subvolume string `json:"subvolume"` // of a btrfs, what is mounted there; "" for the whole

	Disk      int    `json:"disk"`      // place among the disks, 0 is what the BIOS boots
	Table     string `json:"table"`     // "msdos", "gpt", or "" without partitions
	DiskID    string `json:"disk_id"`   // msdos: 8 hex digits; gpt: the disk's GUID
	Partition int    `json:"partition"` // counted from 1; 0 when the file system fills the disk
	PartType  string `json:"part_type"` // msdos: hex byte without 0x; gpt: the type's GUID
	PartUUID  string `json:"part_uuid"` // gpt only; for msdos it follows from DiskID

	Volume *Volume `json:"volume,omitempty"` // what lies between partition and file system; nil: nothing
}

// at gives the file system that holds the absolute, clean path name.
func (l Layout) at(name string) (FileSystem, error) {
	best := -1
	for i, f := range l.FileSystems {
		if f.Mount == "" || !under(f.Mount, name) {
			continue
		}
		if best < 0 || len(f.Mount) > len(l.FileSystems[best].Mount) {
			best = i
		}
	}
	if best < 0 {
		return FileSystem{}, fmt.Errorf("finding the file system of %q in the plan: %w", name, ErrNoDevice)
	}
	return l.FileSystems[best], nil
}

// under says whether name lies in dir or is dir.
func under(dir, name string) bool {
	dir = path.Clean(dir)
	return dir == "/" || name == dir || strings.HasPrefix(name, dir+"/")
}

// device gives the file system for a name that grub-probe had printed before.
// A LABEL= is refused as GRUB's own tool refuses it: with GRUB_DEVICE=LABEL=…
// the menu entries' names would else change with the guest's first update-grub.
func (l Layout) device(name string) (FileSystem, error) {
	for _, f := range l.FileSystems {
		if f.device() == name {
			return f, nil
		}
	}
	return FileSystem{}, fmt.Errorf("finding device %q in the plan: %w", name, ErrNoDevice)
}

// device is the name the file system goes by while there is none: what the
// kernel's command line takes, never a name of the build host.
func (f FileSystem) device() string {
	if f.Volume != nil && f.Volume.Device != "" {
		return f.Volume.Device
	}
	if f.UUID != "" {
		return "UUID=" + f.UUID
	}
	return "LABEL=" + f.Label
}

// drive is GRUB's name of the partition or volume, without parentheses.
func (f FileSystem) drive() string {
	if f.Volume != nil {
		return f.Volume.Drive
	}
	disk := fmt.Sprintf("hd%d", f.Disk)
	return disk + f.suffix()
}

// suffix is GRUB's ",msdos1" or "" for a whole disk.
func (f FileSystem) suffix() string {
	if f.Partition == 0 {
		return ""
	}
	return fmt.Sprintf(",%s%d", f.Table, f.Partition)
}

// partUUID is the identity that root=PARTUUID= takes; "" when there is none.
func (f FileSystem) partUUID() string {
	if f.Table == "msdos" && f.Partition > 0 && f.DiskID != "" {
		return fmt.Sprintf("%s-%02x", strings.ToLower(strings.TrimPrefix(f.DiskID, "0x")), f.Partition)
	}
	return strings.ToLower(f.PartUUID)
}

// grubModule is GRUB's module for a file system type.
func (f FileSystem) grubModule() (string, error) {
	modules := map[string]string{
		"ext2": "ext2", "ext3": "ext2", "ext4": "ext2", "xfs": "xfs", "btrfs": "btrfs",
		"vfat": "fat", "fat": "fat", "fat32": "fat", "msdos": "fat", "f2fs": "f2fs",
	}
	if m, ok := modules[f.Type]; ok {
		return m, nil
	}
	return "", fmt.Errorf("finding GRUB's module for file system type %q: %w", f.Type, ErrNoDevice)
}

// isFAT says whether EFI firmware can read the file system.
func (f FileSystem) isFAT() bool {
	module, err := f.grubModule()
	return err == nil && module == "fat"
}

// systemPartition is the file system that EFI firmware starts from.
func (l Layout) systemPartition() (FileSystem, bool) {
	for _, dir := range []string{"/boot/efi", "/efi", "/boot"} {
		if f, err := l.at(dir); err == nil && f.Mount == dir && f.isFAT() {
			return f, true
		}
	}
	return FileSystem{}, false
}

// StartsByEFI says whether EFI firmware can start the disk without boot code
// outside of its file systems.
func (l Layout) StartsByEFI() bool {
	_, ok := l.systemPartition()
	return ok
}

// tables are the kinds of partition tables below the file system.
func (f FileSystem) tables() []string {
	switch {
	case f.Volume != nil:
		return f.Volume.Tables
	case f.Table != "":
		return []string{f.Table}
	}
	return nil
}

// modules are GRUB's for what lies between partition and file system.
func (f FileSystem) modules() []string {
	if f.Volume == nil {
		return nil
	}
	return f.Volume.Modules
}

// relative is name as seen from the root of its own file system, for a btrfs
// with the subvolume before it, as GRUB reads it; "" for that root itself, since
// scripts put "/" and a file name behind it.
func (f FileSystem) relative(name string) string {
	mount := path.Clean(f.Mount)
	return strings.TrimSuffix(path.Join("/", f.Subvolume, strings.TrimPrefix(name, mount)), "/")
}
