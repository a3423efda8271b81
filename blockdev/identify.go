package blockdev

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/lithify/lithify/blockdev/fat"
)

// Identify derives every id that the configuration does not give from the seed,
// the layout and the node's name: the 32-bit disk id of an MBR, the UUID and the
// directory hash seed of a file system, the ids of volumes and of members of
// arrays. Equal inputs give equal ids, different ones different ids. It must run
// before Layout.
func (g *Graph) Identify(seed string) {
	for _, n := range g.config {
		switch n := n.(type) {
		case *Partition:
			sum := g.derive(seed, "disk", n.Table.Base)
			n.Table.DiskID, n.Table.DiskGUID = diskID(sum), uuid(sum)
			if n.UUID = n.ownUUID; n.UUID == "" {
				n.UUID = uuid(g.derive(seed, "partition", n.name))
			}
		case *Mkfs:
			if n.UUID = n.ownUUID; n.UUID == "" {
				n.UUID = n.deriveUUID(g.derive(seed, "uuid", n.name))
			}
			n.HashSeed = uuid(g.derive(seed, "hash", n.name))
		default:
			g.identifyVolume(seed, n)
		}
	}
	g.identified = true
}

func (g *Graph) derive(seed, what, node string) [32]byte {
	// Quoting keeps the parts apart: no two different lists give one text.
	return sha256.Sum256(fmt.Appendf(nil, "lithify id 1 %q %q %q %q", seed, g.fingerprint, what, node))
}

// deriveUUID returns an id in the form that the file system has one.
func (n *Mkfs) deriveUUID(sum [32]byte) string {
	if n.FSType == "vfat" {
		return fat.FormatID(diskID(sum))
	}
	return uuid(sum)
}

func diskID(sum [32]byte) uint32 {
	// Windows and some loaders take 0 for "no id yet".
	if id := binary.LittleEndian.Uint32(sum[:]); id != 0 {
		return id
	}
	return 1
}

// uuid marks 16 bytes as a version 4 UUID: what diskimage-builder's are, and what
// checks with narrow patterns let through.
func uuid(sum [32]byte) string {
	sum[6] = sum[6]&0x0f | 0x40
	sum[8] = sum[8]&0x3f | 0x80
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Fingerprint is a hash of the layout as asked for: no computed size, no derived
// id, no folder of the host. It is the same for equal configurations in any form.
func (g *Graph) Fingerprint() string { return g.fingerprint }

func (g *Graph) hash() string {
	type line struct {
		Kind, Name string
		Bases      []string
		Value      any
	}
	var lines []line
	for _, n := range g.nodes {
		lines = append(lines, line{fmt.Sprintf("%T", n), n.Name(), n.Bases(), hashed(n)})
	}
	data, err := json.Marshal(lines)
	if err != nil { // plain strings and numbers
		panic("blockdev: fingerprint: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// hashed returns what a node adds to the fingerprint beside name and bases.
func hashed(n Node) any {
	switch n := n.(type) {
	case *LocalLoop:
		if n.Device != "" { // of another machine maybe, and as large as it is
			return "physical disk"
		}
		return []any{n.Size, n.BlockSize}
	case *Partition:
		return []any{n.Table.Label, n.Table.Align, n.Size, n.Type, n.Boot, n.Primary, n.TypeGUID, n.ownUUID, n.Attributes}
	case *Mkfs:
		return []any{n.FSType, n.Label, n.ownUUID, n.Options, n.Subvolumes}
	case *VolumeGroup:
		return []any{n.Extent, n.Alignment}
	case *LogicalVolume:
		if n.Pool || n.ThinPool != "" {
			return []any{n.Size, n.Pool, n.Chunk, n.Metadata, n.ThinPool}
		}
		return []any{n.Size, n.Stripes, n.StripeSize}
	case *Array:
		return []any{n.Level, n.Metadata, n.Chunk, n.Layout, n.Bitmap, n.ownUUID}
	case *Encrypted: // where the secrets are changes nothing in the image
		return []any{n.Version, n.Label, n.Cipher, n.KeySize, n.PBKDF, n.Iterations, n.SectorSize, n.ownUUID, n.Seed.Given()}
	case *Mount:
		return []any{n.MountPoint, n.Subvolume}
	case *Fstab:
		return []any{n.Options, n.DumpFreq, n.FsckPass}
	}
	return nil
}
