package blockdev

// lvmKind is known, so that a configuration with it gets the right answer.
func lvmKind() nodeKind {
	return nodeKind{name: "lvm", level: 1, decode: func(e entry) ([]Node, error) {
		return nil, e.at.notYet("node lvm")
	}}
}
