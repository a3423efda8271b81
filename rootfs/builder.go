package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lithify/lithify/elements"
)

// Cover is a program of the target that a command of ours answers for while
// finalise hooks run on a tree that has no block device under it.
type Cover struct {
	Target  string // absolute path inside the target; left out where it is missing
	Command string // name by which the program is called
}

// Options say what to build and with what. Store, Hooks, Work and Binary are
// required.
type Options struct {
	Store    Store
	Cache    Cache // of other machines' steps; nil: none
	Elements []elements.Element
	Hooks    *elements.Tree
	// Base is the image that this one starts from, nil for the empty tree. Its
	// installing phases come first, as they are in a build of its own. Its
	// elements are among Elements, and Hooks is merged onto them.
	Base *Builder
	// Image gives the container image that the tree starts from in the place of
	// the empty one, given what environment.d made of the variables. Nil, like an
	// Open that is nil, means none. It is not asked when there is a Base.
	Image       func(ctx context.Context, env Environment) (BaseImage, error)
	Environment Environment // the caller's and the contract's variables
	Packages    []string    // installed after the install phase
	Work        string      // folder of this build only, on any file system
	Binary      string      // the static program that is put into the target as its commands
	Commands    []string    // names under which hooks find it, before all other programs
	// LastCommands are names under which hooks in the target find it when the
	// target has no program of the name; HostCommands those for hooks outside
	// alone, before all other programs.
	LastCommands, HostCommands []string
	// CommandVariables are, by command, patterns of the variables that it reads:
	// a hook that names the command receives them, keyed.
	CommandVariables map[string][]string
	Covers           []Cover
	ResolvConf       []byte // what /etc/resolv.conf says while steps run
	Directory        string // where hooks outside the target run; the caller's own when empty

	Epoch       *time.Time    // no file made by a step is younger than this
	MaxAge      time.Duration // how long steps that cannot ask the network are reused; zero means a day
	Fresh       bool          // reuse nothing and keep nothing
	Preview     bool          // only Preview is called: cache-key.d is not run, its last answers count
	Offline     bool          // use the last answers of cache-key.d hooks
	Answers     string        // folder where these are kept
	Fingerprint string        // the disk layout without sizes; empty without a disk
	// Disk gives /etc/fstab and the plan that covers answer from, for ids
	// derived from seed. Nil when no disk is made.
	Disk func(seed Key) (fstab string, plan []byte, err error)

	Breaks  Breaks
	Output  io.Writer   // what hooks print
	Observe func(Event) // told of every step, from one goroutine
	Logger  *slog.Logger
}

// BaseImage is a container image as a tree to start from.
type BaseImage struct {
	Digest string                                   // of its content: what every step depends on
	Open   func(ctx context.Context) (Layer, error) // its tree, held until the store is closed
}

// Event is one step's begin or end.
type Event struct {
	Phase, Element, Name string
	Reused               bool // nothing ran; Done is set too
	Done                 bool
	Took                 time.Duration
}

// Result is a finished tree. The layer is held until the store is closed.
type Result struct {
	Layer       Layer
	Key         Key // of the last step: equal keys, equal trees
	Seed        Key // what ids of disks and file systems derive from
	Plan        []byte
	Ran, Reused int
	Binds       []Bind
	Rest        *Rest        // what runs on the disk; nil: the tree is finished
	Phases      []PhaseLayer // in order; the last one's layer is Layer
}

// PhaseLayer is the tree as it was when a phase ended. The layer is held until
// the store is closed. A phase without steps has none; one whose own record is
// gone (it may be older than its MaxAge while later steps are not) is missing.
type PhaseLayer struct {
	Phase string // as in Record
	Layer Layer  // that of the phase before, when the phase changed nothing
}

// HookError says which hook of whose failed, and how.
type HookError struct {
	Element, Phase, Hook string
	Err                  error
}

func (e *HookError) Error() string {
	return fmt.Sprintf("running hook %q of element %q in phase %s: %v", e.Hook, e.Element, e.Phase, e.Err)
}

func (e *HookError) Unwrap() error { return e.Err }

// Builder plans and runs the steps of one tree.
type Builder struct {
	o        Options
	env      Environment // after environment.d
	answers  inputs
	image    BaseImage // none where Open is nil
	packs    map[elements.Phase]elements.PackageList
	maps     map[string][]byte
	services elements.ServiceMap
	onHost   bool // the hooks tree is written out
	nonce    string
	dirs     workDirs
}

// New prepares a build: nothing is run but environment.d and cache-key.d.
func New(ctx context.Context, o Options) (*Builder, error) {
	if o.MaxAge == 0 {
		o.MaxAge = 24 * time.Hour
	}
	if o.Output == nil {
		o.Output = io.Discard
	}
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Builder{o: o, dirs: workDirs{o.Work}}
	if o.Fresh || len(o.Breaks.At) > 0 {
		b.nonce = fmt.Sprint(time.Now().UnixNano())
	}
	if err := b.dirs.make(o); err != nil {
		return nil, err
	}
	if err := b.adopt(ctx, o.Hooks); err != nil {
		return nil, err
	}
	if err := b.checkBreaks(); err != nil {
		return nil, err
	}
	if o.Image != nil && o.Base == nil {
		var err error
		if b.image, err = o.Image(ctx, b.env); err != nil {
			return nil, err
		}
	}
	answers, err := b.ask(ctx, "")
	b.answers = answers
	return b, err
}

// adopt takes a hooks tree: the first one, or the one that outside hooks left.
func (b *Builder) adopt(ctx context.Context, t *elements.Tree) error {
	b.o.Hooks = t
	if err := checkBlockDevicePhase(t.Hooks(elements.BlockDevice)); err != nil {
		return err
	}
	first := !b.onHost
	if first {
		if err := t.WriteTo(b.dirs.hooks()); err != nil {
			return err
		}
		b.onHost = true
	}
	env, err := b.source(ctx)
	if err != nil {
		return err
	}
	b.env = env
	if first {
		if err := b.addHostFiles(t); err != nil {
			return err
		}
	}
	if b.packs, err = elements.PackageInstalls(b.own(), env); err != nil {
		return err
	}
	if b.maps, err = elements.PackageMaps(b.o.Elements); err != nil {
		return err
	}
	b.services, err = elements.MergeServiceMaps(b.o.Elements)
	return err
}

// own are the elements that the base does not have.
func (b *Builder) own() []elements.Element {
	if b.o.Base == nil {
		return b.o.Elements
	}
	return slices.DeleteFunc(slices.Clone(b.o.Elements), func(e elements.Element) bool {
		return slices.ContainsFunc(b.o.Base.o.Elements, func(of elements.Element) bool { return of.Name == e.Name })
	})
}

// addHostFiles brings what elements want from the host into the hooks tree,
// which is written out already: which files these are, environment.d may say.
func (b *Builder) addHostFiles(t *elements.Tree) error {
	added, err := t.AddHostFiles(b.o.Elements, b.env)
	if err != nil {
		return err
	}
	for _, name := range added {
		data, err := t.Open(name)
		if err != nil {
			return err
		}
		at := filepath.Join(b.dirs.hooks(), name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, data, 0o644); err != nil {
			return fmt.Errorf("writing %q to the hooks tree: %w", name, err)
		}
	}
	return nil
}

// Environment is what environment.d made of the variables given.
func (b *Builder) Environment() Environment { return b.env }

// Intent is what is known of a build before anything runs.
type Intent struct {
	// Key is that of what the build would give. Hooks that always run (outside
	// the target, of elements that are not ours) count by their text.
	Key    Key
	OnDisk bool // a step works on the disk itself
}

// Intent plans the whole build.
func (b *Builder) Intent() (Intent, error) { return b.intend(groups) }

func (b *Builder) intend(groups [][]elements.Phase) (Intent, error) {
	var intent Intent
	if b.o.Base != nil {
		var err error
		if intent, err = b.o.Base.intend(installing); err != nil {
			return Intent{}, err
		}
	}
	intent.Key = b.first(intent.Key)
	for _, group := range groups {
		steps, err := b.plan(group)
		if err != nil {
			return Intent{}, err
		}
		for _, s := range steps {
			intent.Key = s.in.key(intent.Key)
			intent.OnDisk = intent.OnDisk || s.onDisk
		}
	}
	return intent, nil
}

// first is the key of the tree that the build starts from, which has the key
// base or is empty: what every step depends on.
func (b *Builder) first(base Key) Key {
	in := inputs{}
	in.add("arch", []byte(b.env["ARCH"]))
	if b.o.Epoch != nil {
		in.add("epoch", []byte("2 "+b.o.Epoch.UTC().Format(time.RFC3339))) // 2: bench.settle
	}
	if b.image.Open != nil {
		in.add("base image", []byte(b.image.Digest))
	}
	for name, sum := range b.answers {
		if answersFor(name) == "" {
			in["answer "+name] = sum
		}
	}
	return in.key(base)
}

// Run gives the finished tree, resuming from the newest reusable layer. When a
// step fails, or ctx ends, what succeeded is sealed, so that the next run
// resumes there.
func (b *Builder) Run(ctx context.Context) (res Result, err error) {
	r, err := b.begin(ctx)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, r.close(err != nil)) }()
	var rest []step
	for _, group := range groups {
		more, err := r.group(ctx, group, len(rest) > 0)
		if err != nil {
			return res, err
		}
		rest = append(rest, more...)
	}
	if len(rest) > 0 {
		res.Rest = &Rest{run: r, steps: rest}
		for _, s := range rest {
			r.key = s.in.key(r.key)
		}
	}
	return Result{Rest: res.Rest, Layer: r.layer, Key: r.key, Seed: r.seed, Plan: r.planText, Ran: r.ran, Reused: r.reused, Binds: r.binds, Phases: r.phases}, nil
}

// begin stands on the tree that the build starts from.
func (b *Builder) begin(ctx context.Context) (*run, error) {
	if b.o.Base != nil {
		return b.o.Base.install(ctx, b)
	}
	open := b.o.Store.Base
	if b.image.Open != nil {
		open = b.image.Open
	}
	base, err := open(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the tree to start from: %w", err)
	}
	return &run{Builder: b, layer: base, key: b.first("")}, nil
}

// install makes the tree up to the end of the installing phases, and gives a run
// of the builder next that stands on it.
func (b *Builder) install(ctx context.Context, next *Builder) (_ *run, err error) {
	r, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close(err != nil)) }()
	for _, group := range installing {
		if _, err := r.group(ctx, group, false); err != nil {
			return nil, err
		}
	}
	return &run{
		Builder: next, layer: r.layer, key: next.first(r.key), binds: r.binds, phases: r.phases, ran: r.ran, reused: r.reused,
		unkept: r.unkept || b.o.Fresh, // nothing is kept that stands on what is not
	}, nil
}

// installing are the groups that a tree is made by; elements.MergeOnto takes the
// hooks of their phases for run.
var installing = groups[:3]

// groups are the phases between which the plan may change: a group's steps are
// planned when it begins, since extra-data hooks may have changed the hooks tree.
var groups = [][]elements.Phase{
	{elements.Root},
	{elements.ExtraData},
	{elements.PreInstall, elements.Install, elements.PostInstall},
	{elements.PostRoot},
	{elements.PreFinalise},
	{elements.Finalise},
	{elements.Cleanup},
	{driver},
}

// driver is the phase of deeds that end the build.
const driver elements.Phase = "driver"
