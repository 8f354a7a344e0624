package mollymawk

import (
	"strings"

	"github.com/mollygate/mollygate/token"
)

// resourceTypes returns the types of resources that requests act on. Albatross ignores the case
// of their names.
func resourceTypes() []token.ResourceType {
	label := func(name string) (string, error) {
		return strings.ToLower(name), checkLabel("name", name)
	}
	return []token.ResourceType{
		{Name: "instance", Container: true, Check: label},
		{Name: "unikernel", Check: label},
		{Name: "block", Aliases: []string{"volume"}, Check: label}, // volume is Mollymawk's word for it
	}
}
