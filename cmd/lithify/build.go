package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// build makes what o asks for. This is the whole way of an image:
//
//	resolve elements → check configuration, host, outputs → plan steps → open the store
//	→ build the tree (resuming) → create the disks from it → write all formats → publish
//
// A build that memory has no room for begins again on disk.
func build(ctx context.Context, o Options, u *ui) error {
	known := secrets{} // a descriptor can be read once, whatever begins again
	defer known.wipe()
	j := &job{o: o, ui: u, secrets: known}
	err := j.run(ctx)
	if err == nil || ctx.Err() != nil || !j.memory.ranOut(err, u.Tail(20)) {
		return err
	}
	u.Warn(fmt.Sprintf("working in memory ran out of room, so the build starts again on disk (%v)", err))
	o.NoTmpfs = true
	j = &job{o: o, ui: u, secrets: known}
	return j.run(ctx)
}

func (j *job) run(ctx context.Context) (err error) {
	began := time.Now()
	defer func() { err = errors.Join(err, j.close()) }()
	type stage struct {
		name string
		do   func(context.Context) error
	}
	fill := stage{"creating the disk", j.createDisks}
	if j.o.Ramdisk { // which has no disk
		fill = stage{"assembling the ramdisk", j.assembleRamdisk}
	}
	for _, stage := range []stage{
		{"checking", j.check},
		{"planning", j.plan},
		{"building the tree", j.buildTree},
		fill,
		{"writing outputs", j.writeOutputs},
		{"publishing", j.publish},
	} {
		if j.upToDate {
			break
		}
		done := j.ui.Stage(stage.name)
		err := stage.do(ctx)
		done(err)
		if err != nil {
			return err
		}
	}
	j.finishTravel()
	j.pruneStore(ctx)
	j.summarise(time.Since(began))
	return nil
}

// summarise says what there is now.
func (j *job) summarise(took time.Duration) {
	s := Summary{Files: append(slices.Clip(j.files), j.devicesMade()...), Reused: j.reused, Ran: j.ran, Took: took}
	if j.bootable() {
		s.Arch, s.LargeSectors = j.o.Arch, j.largeSectors()
	}
	j.ui.Summary(s)
}

// close lets go of everything in reverse.
func (j *job) close() error {
	var errs []error
	for i := len(j.undo) - 1; i >= 0; i-- {
		errs = append(errs, j.undo[i]())
	}
	j.undo = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cleaning up: %w", err)
	}
	return nil
}
