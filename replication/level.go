//go:build !nextlevel

package replication

// SemanticsLevel is the highest level of command semantics this code knows. An entry of a higher level stops the node:
// executing it by older rules would fork this replica. A leader gives its entries the level of the state (Group.Level),
// which may be lower: else the first node that runs newer code would stop the others.
//
// Level 2 has users (commands/acl.go), level 3 regions (commands/region.go).
const SemanticsLevel uint16 = 3
