package gate

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// registered holds the tables of all backends compiled into the program.
var registered = struct {
	sync.RWMutex
	tables map[string]Table
}{tables: make(map[string]Table)}

// RegisterTable registers a backend's table under the name that configurations use. Packages
// call it in an init function. It panics if the name is taken.
func RegisterTable(name string, table Table) {
	registered.Lock()
	defer registered.Unlock()
	if _, taken := registered.tables[name]; taken {
		panic(fmt.Sprintf("gate: table %q is registered twice", name))
	}
	table.Routes = slices.Clip(table.Routes) // appending to them makes a copy
	registered.tables[name] = table
}

// TableByName returns the table registered under this name. The caller must not change its
// routes.
func TableByName(name string) (Table, bool) {
	registered.RLock()
	defer registered.RUnlock()
	table, ok := registered.tables[name]
	return table, ok
}

// TableNames returns the registered names, sorted.
func TableNames() []string {
	registered.RLock()
	defer registered.RUnlock()
	return slices.Sorted(maps.Keys(registered.tables))
}
