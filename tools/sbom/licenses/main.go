// Command licenses reads an SBOM (CycloneDX, JSON) from standard input and fails if a
// component has no license, or only ones that don't fit the Apache License 2.0 that
// Mollygate is under.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// fitting are the licenses, by SPDX, whose works may be part of one under the Apache
// License 2.0. MPL-2.0 asks for the source of its own files only, which nobody changes
// here; OFL is that of a font in chroma, which is MIT itself.
var fitting = []string{
	"Apache-2.0", "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "BSD-Source-Code", "0BSD", "ISC", "CC0-1.0",
	"Unlicense", "Zlib", "MPL-2.0", "OFL-1.1-no-RFN",
}

type component struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Licenses []choice `json:"licenses"`
	Evidence struct {
		Licenses []choice `json:"licenses"`
	} `json:"evidence"`
}

type choice struct {
	License struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"license"`
}

func main() {
	var bom struct {
		Components []component `json:"components"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&bom); err != nil {
		fmt.Fprintln(os.Stderr, "licenses: reading the SBOM:", err)
		os.Exit(2)
	}
	wrong := 0
	for _, c := range bom.Components {
		var names []string
		for _, l := range append(c.Licenses, c.Evidence.Licenses...) {
			names = append(names, l.License.ID+l.License.Name)
		}
		if !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(fitting, name) }) {
			wrong++
			fmt.Printf("%s %s: [%s] doesn't fit; replace it, or add its license to the list if it does\n", c.Name,
				c.Version, strings.Join(names, ", "))
		}
	}
	if wrong > 0 || len(bom.Components) == 0 {
		fmt.Printf("%d of %d components\n", wrong, len(bom.Components))
		os.Exit(1)
	}
	fmt.Printf("the licenses of %d components fit\n", len(bom.Components))
}
