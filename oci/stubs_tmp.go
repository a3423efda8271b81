package oci

import "context"

func (s *Store) foldedParent(_ context.Context, id string) (string, error) { return id, nil }
func (s *Store) keepFolds(map[string]bool) error                           { return nil }
func (s *Store) saveFolds() error                                          { return nil }
func (c *container) settle(context.Context) (bool, error)                  { return c.claim != nil, nil }
func (s *Store) linksPath(id string) string                                { return s.dir + "/links/" + id }

type linkGroup []string
