package loop

// WithDeed returns options whose disks call f before and after whatever changes the
// kernel's state.
func WithDeed(o Options, f func()) Options {
	o.deed = f
	return o
}
