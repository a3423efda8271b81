package rootfs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs/runner"
)

// A hook of pre-finalise, finalise or cleanup that names IMAGE_BLOCK_DEVICE
// works on the disk itself. It and all steps after it have no layer: they run
// when the disk has been made of the tree, each time a disk is made.
//
//	plan: … install, post-install, post-root │ pre-finalise, finalise, cleanup, clear
//	                      first such hook ──►│ from here on: Rest

var blockDevice = regexp.MustCompile(`\bIMAGE_BLOCK_DEVICES?\b`)

func (v *view) needsDisk(hook string) bool { return blockDevice.Match(v.texts[hook]) }

// OnDisk is a disk that the rest of a build runs on.
type OnDisk struct {
	Dir     string            // every file system at its mount point, writable
	Devices map[string]string // disks and partitions by node: paths on the host
	Disk    string            // the node of the disk that carries /
	Size    int64             // of that disk in bytes, which hooks are told in KiB; zero: they are not
}

// Rest are the steps of a build that work on the disk. Run may be called once.
type Rest struct {
	run   *run
	steps []step
}

// splitRest parts the steps before the first that works on the disk from those
// that follow.
func splitRest(steps []step) (now, rest []step) {
	for i, s := range steps {
		if s.onDisk {
			return steps[:i], steps[i:]
		}
	}
	return steps, nil
}

// Run runs the steps on a disk. The caller commits it afterwards.
func (r *Rest) Run(ctx context.Context, d OnDisk) error {
	if d.Devices[d.Disk] == "" {
		return errors.New("a hook works on IMAGE_BLOCK_DEVICE, and there is no block device: use --backend loop, as root")
	}
	for _, s := range r.steps {
		if err := r.step(ctx, s, d); err != nil {
			return err
		}
	}
	if r.run.o.Epoch == nil {
		return nil
	}
	return clampTimes(d.Dir, d.Dir, *r.run.o.Epoch)
}

func (r *Rest) step(ctx context.Context, s step, d OnDisk) error {
	event := Event{Phase: string(s.phase), Element: s.element, Name: s.name}
	r.run.o.Observe(event)
	begin := time.Now()
	w := &bench{run: r.run, c: diskTree{d.Dir}, binds: r.run.binds, disk: &d}
	if err := s.do(ctx, w); err != nil {
		return errors.Join(err, w.afterError(ctx, s))
	}
	r.run.binds = w.binds
	event.Done, event.Took = true, time.Since(begin)
	r.run.o.Observe(event)
	return nil
}

// diskTree stands for a container where there are no layers.
type diskTree struct{ dir string }

func (t diskTree) Dir() string     { return t.dir }
func (t diskTree) Changes() string { return t.dir }
func (t diskTree) Finish(context.Context) (Layer, error) {
	return nil, errors.New("a disk is no layer")
}
func (t diskTree) Close() error { return nil }

// deviceVariables are the contract's; at gives the path by which a device is
// known to the hook.
func (d *OnDisk) deviceVariables(at func(device string) string) Environment {
	var all strings.Builder
	for _, node := range sortedKeys(d.Devices) {
		fmt.Fprintf(&all, " [%s]=%s ", node, at(d.Devices[node]))
	}
	env := Environment{"IMAGE_BLOCK_DEVICE": at(d.Devices[d.Disk]), "IMAGE_BLOCK_DEVICES": all.String()}
	if d.Size > 0 { // by now the contract's variable has another unit than the user's
		env["DIB_IMAGE_SIZE"] = fmt.Sprint(d.Size >> 10)
	}
	return env
}

// inDev is where a device of the host is in the target.
func inDev(device string) string { return path.Join("/dev", filepath.Base(device)) }

// deviceMounts bring the disk's devices into the target's own /dev.
func (d *OnDisk) deviceMounts() []runner.Mount {
	var all []runner.Mount
	for _, node := range sortedKeys(d.Devices) {
		all = append(all, runner.Mount{Source: d.Devices[node], Target: inDev(d.Devices[node])})
	}
	return all
}

// checkBlockDevicePhase refuses the phase that diskimage-builder itself gave up.
func checkBlockDevicePhase(hooks []elements.Hook) error {
	if len(hooks) == 0 {
		return nil
	}
	return &NotYetError{fmt.Sprintf("hook %q of element %q in phase block-device: the disk's layout comes from the block-device configuration (DIB_BLOCK_DEVICE_CONFIG, or an element's block-device-default.yaml)",
		hooks[0].Path, hooks[0].Element)}
}
