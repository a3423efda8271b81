package elements

// Need is a name that was asked for or that an element depends on, with what it
// is and what that needs in turn.
type Need struct {
	Name     string
	Provider string        // the element that stands in for the name, or ""
	Missing  *MissingError // nothing has the name; nil else
	Seen     bool          // Needs is left out: it is at an earlier place
	Needs    []Need        // in the order of element-deps
}

// Needs returns the dependencies of names as trees, one for each name. Unlike
// Resolve it wants no operating system, and goes on after a name that is not
// there. The error is that of the first such name which no choice of a provider
// would mend, or an *AlreadyProvidedError.
func (l Library) Needs(names ...string) ([]Need, error) {
	r := l.resolver(names)
	r.absent = map[string]*MissingError{}
	if err := r.expand(); err != nil {
		return nil, err
	}
	if err := r.clash(); err != nil {
		return nil, err
	}
	t := needTrees{r: r, seen: map[string]bool{}}
	var trees []Need
	for _, name := range r.asked {
		trees = append(trees, t.tree(name))
	}
	return trees, t.missing
}

type needTrees struct {
	r       *resolver
	seen    map[string]bool
	missing error
}

func (t *needTrees) tree(name string) Need {
	n := Need{Name: name, Provider: t.r.provider[name], Missing: t.r.absent[name]}
	if n.Missing != nil && len(n.Missing.Providers) == 0 && t.missing == nil {
		t.missing = n.Missing
	}
	deps := unique(t.r.met[name].Deps)
	if n.Provider != "" || n.Missing != nil || len(deps) == 0 {
		return n
	}
	if n.Seen = t.seen[name]; n.Seen {
		return n
	}
	t.seen[name] = true
	for _, dep := range deps {
		if dep != name {
			n.Needs = append(n.Needs, t.tree(dep))
		}
	}
	return n
}
