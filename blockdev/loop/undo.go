package loop

import "errors"

// undo is a stack of what to take back. Each entry is pushed right after its
// deed.
type undo []func() error

func (u *undo) push(f func() error) { *u = append(*u, f) }

// run takes everything back in reverse, whatever fails, and joins the errors.
func (u *undo) run() error {
	var all []error
	for len(*u) > 0 {
		last := len(*u) - 1
		f := (*u)[last]
		*u = (*u)[:last]
		all = append(all, f())
	}
	return errors.Join(all...)
}
