package elements

import (
	"errors"
	"slices"
)

// Resolve returns the elements that a build of names consists of: those asked
// for in their order, then what they depend on, sorted.
//
//	queue = names
//	for each name in queue: stop at one that is not there; note what it
//	    provides; add its dependencies to the queue
//	a name that some element of the library provides waits until the queue
//	    is empty: by then its provider has been met, if there is one; else it
//	    is looked up like any other, the first one first
//	result = what was met, without names that are provided
//
// Waiting is what diskimage-builder does not do: there a dependency on a
// virtual name fails when its provider comes later.
//
// Errors are *MissingError, *AlreadyProvidedError and *NoOperatingSystemError
// for mistakes of the user, and others for files that cannot be read.
func (l Library) Resolve(names ...string) ([]Element, error) {
	r := l.resolver(names)
	if err := r.expand(); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r.result(), nil
}

func (l Library) resolver(names []string) *resolver {
	return &resolver{
		library: l, asked: unique(names), virtual: l.provided(),
		met: map[string]Element{}, by: map[string]string{}, provider: map[string]string{},
	}
}

type resolver struct {
	library  Library
	asked    []string
	virtual  map[string][]string // name → elements of the library that provide it
	met      map[string]Element
	order    []string          // names in met, as they were met
	by       map[string]string // name → the element that first asked for it
	provider map[string]string // name → the chosen element that provides it

	// Names that nobody has end the work, unless there is a place to note them.
	absent map[string]*MissingError
}

// provided maps each name to the elements of the library that provide it. An
// element that cannot be read provides nothing: it is a mistake only for a build
// that wants it.
func (l Library) provided() map[string][]string {
	virtual := map[string][]string{}
	for _, name := range l.Names() {
		e, _, err := l.load(name)
		if err != nil {
			continue
		}
		for _, p := range unique(e.Provides) {
			if p != name {
				virtual[p] = append(virtual[p], name)
			}
		}
	}
	return virtual
}

// Find returns the element called name, from the first source that has it. When
// none has, the error is a *MissingError.
func (l Library) Find(name string) (Element, error) {
	e, found, err := l.load(name)
	if err == nil && !found {
		err = l.resolver(nil).missing(name)
	}
	return e, err
}

func (r *resolver) expand() error {
	var queue, waiting []string
	add := func(name string) {
		if len(r.virtual[name]) > 0 {
			waiting = append(waiting, name)
		} else {
			queue = append(queue, name)
		}
	}
	for _, name := range r.asked {
		add(name)
	}
	for len(queue)+len(waiting) > 0 {
		if len(queue) == 0 {
			queue, waiting = []string{waiting[0]}, waiting[1:]
		}
		name := queue[0]
		queue = queue[1:]
		if r.done(name) {
			continue
		}
		e, err := r.meet(name)
		if missing, ok := errors.AsType[*MissingError](err); ok && r.absent != nil {
			r.absent[name] = missing
			continue
		}
		if err != nil {
			return err
		}
		for _, dep := range e.Deps {
			if _, seen := r.by[dep]; seen || r.done(dep) || slices.Contains(r.asked, dep) {
				continue
			}
			r.by[dep] = name
			add(dep)
		}
	}
	return nil
}

func (r *resolver) done(name string) bool {
	_, met := r.met[name]
	_, provided := r.provider[name]
	return met || provided || r.absent[name] != nil
}

// meet loads an element and notes what it provides. An element that provides
// its own name says nothing new.
func (r *resolver) meet(name string) (Element, error) {
	e, found, err := r.library.load(name)
	if err != nil {
		return Element{}, err
	}
	if !found {
		return Element{}, r.missing(name)
	}
	r.met[name] = e
	r.order = append(r.order, name)
	for _, p := range unique(e.Provides) {
		if p == name {
			continue
		}
		if first, taken := r.provider[p]; taken {
			return Element{}, &AlreadyProvidedError{Name: p, Provider: first, Second: name}
		}
		r.provider[p] = name
	}
	return e, nil
}

func (r *resolver) missing(name string) error {
	err := &MissingError{Name: name, Providers: r.virtual[name]}
	for by, ok := r.by[name]; ok; by, ok = r.by[by] {
		err.Chain = append(err.Chain, by)
	}
	slices.Reverse(err.Chain)
	if len(err.Providers) == 0 {
		err.Nearest = nearest(name, r.library.Names())
	}
	return err
}

// clash finds names that were asked for although a chosen element provides them.
func (r *resolver) clash() error {
	for _, name := range r.asked {
		if p, ok := r.provider[name]; ok {
			return &AlreadyProvidedError{Name: name, Provider: p}
		}
	}
	return nil
}

func (r *resolver) check() error {
	if err := r.clash(); err != nil {
		return err
	}
	if _, ok := r.provider["operating-system"]; !ok {
		return &NoOperatingSystemError{Candidates: r.virtual["operating-system"]}
	}
	return nil
}

func (r *resolver) result() []Element {
	var rest []string
	for _, name := range r.order {
		if _, provided := r.provider[name]; !provided && !slices.Contains(r.asked, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	var all []Element
	for _, name := range append(slices.Clone(r.asked), rest...) {
		all = append(all, r.met[name])
	}
	return all
}

// unique drops later copies and keeps the order.
func unique(names []string) []string {
	var once []string
	for _, n := range names {
		if !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return once
}
