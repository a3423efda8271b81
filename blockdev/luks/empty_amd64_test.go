package luks

func emptyFast(rounds int) xexKey { return &fastKey{rounds: rounds} }
