package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/lithify/lithify/blockdev"
	"github.com/spf13/cobra"
)

// newBlockdevCommand is lithify blockdev: disks and file systems on their own.
func newBlockdevCommand(env []string, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "blockdev",
		Short: "Plan disks and make file systems without a build",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newMkfsCommand(env, stdout, stderr), newBlockdevPlanCommand(env, stdout))
	return root
}

const mkfsLong = `Make one file system in FILE and fill it from a folder: no mount, no loop device, no rights but to read and to write.

ext2, ext3, ext4 and vfat are written by this program; an option of mke2fs that it does not write has mke2fs make the
file system, and a line on stderr says so. btrfs is made by the host's mkfs.btrfs, xfs, empty, by its mkfs.xfs.

The options with one letter are those of mke2fs(8). Any option of the program that makes this type elsewhere (mke2fs,
mkfs.fat, mkfs.btrfs, mkfs.xfs) may stand behind --.

FILE appears when it is whole. With SOURCE_DATE_EPOCH set no time is later than that, and ids that are not given follow
from the content, so the same call gives the same bytes.`

const mkfsExample = `  lithify blockdev mkfs --type ext4 --size 2GiB --from tree -L root root.img
  lithify blockdev mkfs --type ext4 --from tree -b 1024 -O ^has_journal -m 0 small.img
  lithify blockdev mkfs --type vfat --size 64MiB --from efi esp.img -- -F 32
  lithify blockdev mkfs --type ext4 --size 1GiB --from tree --offset 1MiB disk.img`

func newMkfsCommand(env []string, stdout, stderr io.Writer) *cobra.Command {
	m := &mkfsCommand{stdout: stdout, stderr: stderr}
	var size, offset, profile string
	cmd := &cobra.Command{
		Use:     "mkfs --type TYPE [--size SIZE] [--from DIR] [OPTION]... FILE [-- OPTION...]",
		Short:   "Make one file system from a folder",
		Long:    mkfsLong,
		Example: mkfsExample,
		Args: func(cmd *cobra.Command, args []string) error {
			files := args
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				files = args[:n]
			}
			if len(files) != 1 {
				return usagef("name one file, found %d; the size is --size, and %s's own options stand behind --", len(files), "mkfs")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			m.target = args[0]
			m.extra = args[1:]
			m.release = profile[strings.LastIndex(profile, "/")+1:]
			if err := m.read(env, size, offset); err != nil {
				return err
			}
			return m.run(cmd.Context())
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	f := cmd.Flags()
	f.StringVarP(&m.fsType, "type", "t", "", strings.Join(blockdev.SingleTypes(), ", "))
	f.StringVar(&size, "size", "", "of the file system, such as 2GiB; else what the content needs, of a device all of it")
	f.StringVarP(&m.from, "from", "d", "", "the folder that it is filled from; without one it is empty")
	f.StringVar(&offset, "offset", "", "write into FILE, which is there, from this byte on, such as 1MiB")
	f.BoolVarP(&m.force, "force", "F", false, "replace a FILE that is there, write to a device")
	f.StringVar(&profile, "profile", "", "release that will read it (xenial, centos/7): old ones get older features")
	f.StringVarP(&m.label, "label", "L", "", "name of the volume")
	f.StringVarP(&m.uuid, "uuid", "U", "", "id of the volume, or random")
	for _, o := range mke2fsOptions {
		f.VarP(&passedOption{to: &m.options, letter: o.letter}, o.name, o.letter, o.usage)
	}
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(blockdev.SingleTypes(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// mke2fsOptions are passed on, with mke2fs' letters.
var mke2fsOptions = []struct{ letter, name, usage string }{
	{"b", "block-size", "ext: bytes in a block: 1024, 2048, 4096"},
	{"E", "extended", "ext: hash_seed=UUID, root_owner=UID:GID, resize=BLOCKS, …; may be repeated"},
	{"G", "flex-groups", "ext: groups whose tables lie together"},
	{"i", "bytes-per-inode", "ext: one inode for so many bytes"},
	{"I", "inode-size", "ext: bytes in an inode"},
	{"J", "journal", "ext: size=MEGABYTES"},
	{"m", "reserved", "ext: per cent of the blocks for root alone"},
	{"M", "last-mounted", "ext: the mount point that tools show"},
	{"N", "inodes", "ext: how many inodes"},
	{"O", "features", "ext: features to add, or with ^ to leave out; may be repeated"},
	{"T", "usage-type", "ext: made by mke2fs"},
}

// passedOption is a flag that goes on to another program as it is.
type passedOption struct {
	to     *[]string
	letter string
}

func (p *passedOption) Set(v string) error {
	*p.to = append(*p.to, "-"+p.letter, v)
	return nil
}
func (p *passedOption) String() string { return "" }
func (p *passedOption) Type() string   { return "VALUE" }

// mkfsCommand is one call of lithify blockdev mkfs.
type mkfsCommand struct {
	stdout, stderr io.Writer

	target, from, fsType, label, uuid, release string
	options, extra                             []string // before and behind --
	size                                       int64    // bytes, 0: computed
	offset                                     int64    // bytes, below 0: not given
	force                                      bool

	env      map[string]string
	existing bool // the target is written in place
	device   bool
	room     int64 // of an existing target, bytes
}

// checkExtra refuses what would undo what this command does.
func (m *mkfsCommand) checkExtra() error {
	switch m.fsType {
	case "ext2", "ext3", "ext4":
	default:
		if len(m.options) > 0 {
			return usagef("%s is an option of mke2fs, and --type is %s: the options of mkfs.%s stand behind --", m.options[0], m.fsType, m.fsType)
		}
		return nil
	}
	for i := 0; i < len(m.extra); i++ {
		w := m.extra[i]
		if len(w) < 2 || w[0] != '-' {
			return usagef("%q behind --: an option of mke2fs is wanted, such as -m 0", w)
		}
		if instead, ours := map[byte]string{
			'd': "--from", 't': "--type", 'n': "nothing", 'S': "nothing", 'V': "nothing", 'z': "nothing", 'c': "nothing", 'l': "nothing",
		}[w[1]]; ours {
			return usagef("%s of mke2fs behind --: use %s", w[:2], instead)
		}
		if len(w) == 2 && strings.IndexByte("bCeEgGiIJLmMNoOrTU", w[1]) >= 0 {
			if i++; i == len(m.extra) {
				return usagef("%s behind --: its value is missing", w)
			}
		}
	}
	for _, w := range append(m.options[:len(m.options):len(m.options)], m.extra...) {
		if strings.Contains(w, "offset=") {
			return usagef("-E %s: use --offset", w)
		}
	}
	return nil
}

func (m *mkfsCommand) describe(f *blockdev.FSPlan) string {
	text := fmt.Sprintf("%s: %s, %s", m.target, f.FSType, blockdev.FormatSize(f.Size))
	if m.offset > 0 {
		text += fmt.Sprintf(" at byte %d", m.offset)
	}
	if f.Label != "" {
		text += fmt.Sprintf(", label %q", f.Label)
	}
	return text + ", UUID " + f.UUID
}
