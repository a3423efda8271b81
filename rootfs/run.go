package rootfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/lithify/lithify/elements"
)

// run is one pass over the steps: where it stands and what is not sealed yet.
//
//	for each group of phases:
//	    plan its steps and chain their keys
//	    stand on the newest layer that is there
//	    for each step after it: find, or claim and make; after a phase: seal
type run struct {
	*Builder
	layer       Layer
	key         Key
	seed        Key
	planText    []byte
	binds       []Bind
	phases      []PhaseLayer
	pending     []made
	claims      []Claim
	ran, reused int
	unkept      bool // the network changed under a phase: nothing more is sealed
	single      bool // keys are known one by one only, so the cache is asked so
}

// made is a finished step that waits for its phase to end.
type made struct {
	claim Claim
	layer Layer
	rec   Record
}

// group makes the steps of a group of phases. From the first that works on the
// disk on it only plans: these are given back.
func (r *run) group(ctx context.Context, group []elements.Phase, onDisk bool) (later []step, err error) {
	steps, err := r.plan(group)
	if err != nil || onDisk {
		return steps, err
	}
	if steps, later = splitRest(steps); len(steps) == 0 {
		return later, nil
	}
	rest := steps
	r.single = !r.o.Fresh && hasByContent(steps)
	if !r.o.Fresh && !r.single {
		if rest, err = r.resume(ctx, steps); err != nil {
			return nil, err
		}
	}
	if err := r.steps(ctx, rest); err != nil {
		return nil, errors.Join(err, r.seal(context.WithoutCancel(ctx)))
	}
	if group[0] == elements.ExtraData && hasByContent(steps) {
		return nil, r.rereadHooks(ctx)
	}
	return later, nil
}

func hasByContent(steps []step) bool {
	for _, s := range steps {
		if s.byContent {
			return true
		}
	}
	return false
}

// resume stands on the newest layer of the steps that is there, and returns the
// steps above it.
func (r *run) resume(ctx context.Context, steps []step) ([]step, error) {
	keys := make([]Key, len(steps))
	key := r.key
	for i, s := range steps {
		key = s.in.key(key)
		keys[i] = key
	}
	i, layer, rec, err := r.newest(ctx, steps, keys)
	if err != nil {
		return nil, err
	}
	parent := r.key
	if i >= 0 {
		parent = keys[i]
	}
	got, err := r.fetch(ctx, parent, keys[i+1:])
	if err == nil && got {
		i, layer, rec, err = r.newest(ctx, steps, keys)
	}
	if err != nil || i < 0 {
		return steps, err
	}
	for j := range i + 1 {
		r.noteSeed(steps[j], j, keys)
		r.reuse(steps[j])
	}
	if err := r.notePhases(ctx, steps[:i+1], keys); err != nil {
		return nil, err
	}
	r.stand(layer, rec)
	r.notePhase(steps[i].phase)
	r.offer(rec.Key)
	return steps[i+1:], nil
}

// newest finds the newest layer of the steps that is in the store; -1: none.
func (r *run) newest(ctx context.Context, steps []step, keys []Key) (int, Layer, Record, error) {
	for i := len(steps) - 1; i >= 0; i-- {
		layer, rec, err := r.o.Store.Find(ctx, keys[i])
		if err == nil {
			return i, layer, rec, nil
		}
		if !errors.Is(err, ErrNotFound) {
			return -1, nil, rec, fmt.Errorf("looking for the layer of step %q: %w", steps[i].name, err)
		}
	}
	return -1, nil, Record{}, nil
}

// notePhases looks up where the phases below the last of steps ended.
func (r *run) notePhases(ctx context.Context, steps []step, keys []Key) error {
	for i := range len(steps) - 1 {
		if steps[i].phase == steps[i+1].phase {
			continue
		}
		layer, _, err := r.o.Store.Find(ctx, keys[i])
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking for the layer of step %q: %w", steps[i].name, err)
		}
		r.phases = append(r.phases, PhaseLayer{string(steps[i].phase), layer})
		r.offer(keys[i])
	}
	return nil
}

// notePhase notes that a step of the phase ended where the run stands now.
func (r *run) notePhase(phase elements.Phase) {
	here := PhaseLayer{string(phase), r.layer}
	if last := len(r.phases) - 1; last >= 0 && r.phases[last].Phase == here.Phase {
		r.phases[last] = here
		return
	}
	r.phases = append(r.phases, here)
}

// noteSeed keeps the key below the fstab deed when that deed is reused.
func (r *run) noteSeed(s step, i int, keys []Key) {
	if s.name != "fstab" || s.element != "driver" {
		return
	}
	r.seed = r.key
	if i > 0 {
		r.seed = keys[i-1]
	}
}

func (r *run) reuse(s step) {
	r.reused++
	r.o.Observe(Event{Phase: string(s.phase), Element: s.element, Name: s.name, Reused: true, Done: true})
}

func (r *run) stand(layer Layer, rec Record) {
	r.layer, r.key, r.binds = layer, rec.Key, rec.Binds
}

// steps makes the steps one by one, and seals when a phase ends.
func (r *run) steps(ctx context.Context, steps []step) error {
	for i, s := range steps {
		if err := r.step(ctx, s); err != nil {
			return err
		}
		r.notePhase(s.phase)
		if i+1 == len(steps) || steps[i+1].phase != s.phase {
			if err := r.endPhase(ctx, s.phase); err != nil {
				return err
			}
			r.offer(r.key) // found, perhaps, and not made
		}
	}
	return nil
}

// step finds the layer of s or makes it.
func (r *run) step(ctx context.Context, s step) error {
	if s.name == "fstab" && s.element == "driver" {
		r.seed = r.key
	}
	if s.byContent {
		return r.stepByContent(ctx, s)
	}
	if s.isBreak { // what is done is done, whatever happens in the shell
		if err := r.seal(ctx); err != nil {
			return err
		}
	}
	key := s.in.key(r.key)
	for asked := false; ; {
		if !r.o.Fresh {
			layer, rec, err := r.o.Store.Find(ctx, key)
			if err == nil {
				r.reuse(s)
				r.stand(layer, rec)
				return nil
			}
			if !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("looking for the layer of step %q: %w", s.name, err)
			}
		}
		if r.single && !asked {
			asked = true
			if got, err := r.fetch(ctx, r.key, []Key{key}); err != nil || got {
				if err != nil {
					return err
				}
				continue
			}
		}
		claim, err := r.claim(ctx, key)
		if errors.Is(err, ErrMade) {
			continue
		}
		if err != nil {
			return fmt.Errorf("claiming step %q: %w", s.name, err)
		}
		r.claims = append(r.claims, claim)
		return r.perform(ctx, s, key, claim)
	}
}

// claim claims a step. A fresh build neither waits for others that make the same
// nor finds what they made: it claims under a name of its own. Keys, and with
// them the ids of the disk, are those of a build with layers.
func (r *run) claim(ctx context.Context, key Key) (Claim, error) {
	if r.o.Fresh {
		key = inputs{"fresh": digest([]byte(r.nonce))}.key(key)
	}
	return r.o.Store.Claim(ctx, key)
}

// perform runs a claimed step and stands on its result.
func (r *run) perform(ctx context.Context, s step, key Key, claim Claim) error {
	rec := r.record(s, key)
	layer, _, err := r.work(ctx, s, claim, &rec, false)
	if err != nil {
		return err
	}
	if s.isBreak {
		if layer.ID() == r.layer.ID() {
			return nil // nothing was changed: the build goes on as without it
		}
		r.unkept = true
	}
	r.pending = append(r.pending, made{claim, layer, rec})
	r.stand(layer, rec)
	return nil
}

func (r *run) record(s step, key Key) Record {
	return Record{Key: key, Parent: r.key, Phase: string(s.phase), Element: s.element, Name: s.name,
		MaxAge: s.maxAge, Inputs: maps.Clone(s.in), Binds: r.binds}
}

// stepByContent always runs the step; its key is that of what it changed, so
// that the steps above it are reused while it changes nothing new.
func (r *run) stepByContent(ctx context.Context, s step) error {
	s.in.add("run", fmt.Append(nil, time.Now().UnixNano()))
	claim, err := r.claim(ctx, s.in.key(r.key))
	if err != nil {
		return fmt.Errorf("claiming step %q: %w", s.name, err)
	}
	r.claims = append(r.claims, claim)
	rec := r.record(s, "")
	layer, content, err := r.work(ctx, s, claim, &rec, true)
	if err != nil {
		return err
	}
	known := inputs{"content": content, "binds": digest(fmt.Append(nil, rec.Binds))}
	key := known.key(r.key)
	rec.Key, rec.Inputs, rec.MaxAge = key, known, 0
	if !r.o.Fresh {
		if found, old, err := r.o.Store.Find(ctx, key); err == nil {
			r.stand(found, old)
			return nil
		}
	}
	sealing, err := r.claim(ctx, key)
	if err == nil {
		r.claims = append(r.claims, sealing)
		r.pending = append(r.pending, made{sealing, layer, rec})
	} else if !errors.Is(err, ErrMade) {
		return fmt.Errorf("claiming the result of step %q: %w", s.name, err)
	}
	r.stand(layer, rec)
	return nil
}

// work runs the step in a fresh container; with content it also gives the
// digest of what the step changed.
func (r *run) work(ctx context.Context, s step, claim Claim, rec *Record, content bool) (layer Layer, sum string, err error) {
	r.o.Observe(Event{Phase: string(s.phase), Element: s.element, Name: s.name})
	begin := time.Now()
	c, err := claim.Container(ctx, r.layer)
	if err != nil {
		return nil, "", fmt.Errorf("making a layer for step %q: %w", s.name, err)
	}
	w := &bench{run: r, c: c, binds: r.binds}
	if err := w.do(ctx, s); err != nil {
		return nil, "", errors.Join(err, w.afterError(ctx, s), c.Close())
	}
	if content {
		if sum, err = contentDigest(c.Changes()); err != nil {
			return nil, "", errors.Join(err, c.Close())
		}
	}
	if layer, err = c.Finish(ctx); err != nil {
		return nil, "", fmt.Errorf("finishing the layer of step %q: %w", s.name, err)
	}
	rec.Took, rec.Binds = time.Since(begin), w.binds
	r.ran++
	r.o.Observe(Event{Phase: string(s.phase), Element: s.element, Name: s.name, Done: true, Took: rec.Took})
	return layer, sum, nil
}

// endPhase seals what the phase made, unless the network's answers changed
// while it ran: then its layers, and those above, serve this build only.
func (r *run) endPhase(ctx context.Context, phase elements.Phase) error {
	if len(r.pending) == 0 {
		return nil
	}
	if !r.unkept && !r.o.Offline && len(r.answers) > 0 && readsNetwork(phase) {
		now, err := r.ask(ctx, phase)
		if err != nil {
			return err
		}
		if changed(r.answers, now) {
			r.o.Logger.Warn("the archive changed while the phase ran: its layers are not kept", "phase", string(phase))
			r.unkept = true
		}
	}
	if phase == elements.Root {
		if err := r.checkRoot(ctx); err != nil {
			r.unkept = true // or the next build would stand on the empty tree
			return err
		}
	}
	return r.seal(ctx)
}

// changed compares what was asked again with what was answered before.
func changed(before, now inputs) bool {
	for name, sum := range now {
		if before[name] != sum {
			return true
		}
	}
	return false
}

func readsNetwork(p elements.Phase) bool { return p != driver && p != elements.Cleanup }

// seal makes the pending layers durable, in order, and lets others have them.
func (r *run) seal(ctx context.Context) error {
	pending := r.pending
	r.pending = nil
	if r.o.Fresh || r.unkept {
		return nil
	}
	for _, m := range pending {
		if err := m.claim.Seal(ctx, m.layer, m.rec); err != nil {
			return fmt.Errorf("sealing step %q: %w", m.rec.Name, err)
		}
	}
	r.offerSealed(pending)
	claims := r.claims
	r.claims = nil
	return closeAll(claims)
}

// close gives the claims up. Layers that are not to be kept live by theirs:
// after a success these stay open until the store is closed.
func (r *run) close(failed bool) error {
	if !failed && (r.o.Fresh || r.unkept) {
		return nil
	}
	claims := r.claims
	r.claims = nil
	return closeAll(claims)
}

func closeAll(claims []Claim) error {
	var errs []error
	for _, c := range claims {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// rereadHooks takes the hooks tree as extra-data hooks left it.
func (r *run) rereadHooks(ctx context.Context) error {
	t, err := r.o.Hooks.Reread(r.dirs.hooks())
	if err != nil {
		return fmt.Errorf("reading the hooks tree again: %w", err)
	}
	return r.adopt(ctx, t)
}
