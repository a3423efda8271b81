package blockdev

import "errors"

func (v *VolumeGroup) align() int64               { return max(v.Alignment, mib) }
func (v *VolumeGroup) extents(size int64) int64   { return max(0, (size-v.align())/v.Extent) }
func (v *VolumeGroup) physicalSize(n int64) int64 { return v.align() + n*v.Extent }
func (e *Encrypted) overhead() int64 {
	if e.Version == 1 {
		return 2 * mib
	}
	return 16 * mib
}
func (a *Array) memberSize(want int64) int64 { return want + 2*mib }
func (a *Array) sizeOf(members []int64) (int64, error) {
	if members[0] < 3*mib {
		return 0, errors.New("too small")
	}
	return members[0] - 2*mib, nil
}

type lvmPkg struct{}

func (lvmPkg) ID(sum [32]byte) string { return uuid(sum) }

var lvm lvmPkg
