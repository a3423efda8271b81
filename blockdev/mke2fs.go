package blockdev

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// mke2fsConf is the mke2fs.conf of ours. The features are those that
// bookworm's GRUB (2.06) and kernel (6.1), and older ones, can read: nothing
// that later e2fsprogs turn on (metadata_csum_seed, orphan_file). One block
// size whatever the size, so that sizes can be computed. The types named
// by size change nothing: mke2fs picks one and warns when it is not there.
const mke2fsConf = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384

[fs_types]
	ext2 = {
	}
	ext3 = {
		features = has_journal
	}
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
	floppy = {
		inode_size = 256
	}
	small = {
		inode_size = 256
	}
	default = {
		inode_size = 256
	}
	big = {
		inode_size = 256
	}
	huge = {
		inode_size = 256
	}
`

// WriteMke2fsProfile writes the mke2fs.conf of ours into a folder, which the
// caller removes, and returns its path for Mke2fs.Profile.
func WriteMke2fsProfile(dir string) (string, error) {
	path := filepath.Join(dir, "mke2fs.conf")
	if err := os.WriteFile(path, []byte(mke2fsConf), 0o644); err != nil {
		return "", fmt.Errorf("mke2fs profile: %w", err)
	}
	return path, nil
}

// Mke2fs is what the command line of mke2fs needs beside the plan.
type Mke2fs struct {
	Profile  string     // from WriteMke2fsProfile; always set it
	Target   string     // a device, or an image file
	InImage  bool       // Target is the disk's image: the file system begins at the plan's offset
	Tree     string     // fill it from this folder (-d); "" leaves it empty
	Time     *time.Time // of superblock, lost+found and what it makes; nil: now
	NotEmpty bool       // Target may hold old data, so tables are written, not assumed zero
}

// Mke2fsCommand returns the arguments of mke2fs (without the program) and the
// environment to add. Both back ends use it, hence equal features. The user's
// options come last; several -E and -O are joined, since mke2fs takes the last
// of them alone. It needs e2fsprogs 1.46.6 or later unless NotEmpty is set.
func Mke2fsCommand(fs FSPlan, m Mke2fs) (args, env []string) {
	extended := "nodiscard"
	if !m.NotEmpty {
		// Tables and journal of a fresh sparse file are zero: nothing is
		// written, and the kernel is told that it need not either.
		extended += ",assume_storage_prezeroed=1"
	}
	if fs.HashSeed != "" {
		extended += ",hash_seed=" + fs.HashSeed
	}
	if m.InImage {
		extended += ",offset=" + strconv.FormatInt(fs.Offset, 10)
	}
	user, rest := joined(parseOptions(fs.Options), 'E')
	if user != "" {
		extended += "," + user
	}
	features, rest := joined(rest, 'O')
	if fs.Profile == profileOld && fs.FSType == "ext4" {
		features = strings.TrimSuffix("^metadata_csum,^64bit,"+features, ",")
	}
	args = []string{"-q", "-F", "-t", fs.FSType, "-L", fs.Label, "-U", fs.UUID, "-E", extended}
	if fs.MountPoint != "" {
		args = append(args, "-M", fs.MountPoint)
	}
	if fs.BytesPerInode > 0 {
		args = append(args, "-i", strconv.FormatInt(fs.BytesPerInode, 10))
	}
	if features != "" {
		args = append(args, "-O", features)
	}
	if m.Tree != "" {
		args = append(args, "-d", m.Tree)
	}
	for _, o := range rest {
		args = append(args, o.args()...)
	}
	args = append(args, m.Target, strconv.FormatInt(fs.Size/kib, 10)+"k")
	env = []string{"MKE2FS_CONFIG=" + m.Profile, "MKE2FS_SYNC=0"}
	if m.Time != nil {
		env = append(env, "E2FSPROGS_FAKE_TIME="+strconv.FormatInt(m.Time.Unix(), 10))
	}
	return args, env
}
