// Command licenses reads an SBOM (CycloneDX, JSON) from standard input. It fails if a
// component has no license that is compatible with Mollygate's Apache License 2.0.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// compatible lists the SPDX identifiers of licenses that allow code to be included in a
// work under the Apache License 2.0. MPL-2.0 covers only its own files, which Mollygate
// doesn't change. OFL covers a font in chroma, whose other files are under the MIT license.
var compatible = []string{
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
	incompatible := 0
	for _, c := range bom.Components {
		var names []string
		for _, l := range append(c.Licenses, c.Evidence.Licenses...) {
			names = append(names, l.License.ID+l.License.Name)
		}
		if !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(compatible, name) }) {
			incompatible++
			fmt.Printf("%s %s: no compatible license in [%s]: replace the component, or add the license to the list\n",
				c.Name, c.Version, strings.Join(names, ", "))
		}
	}
	if incompatible > 0 || len(bom.Components) == 0 {
		fmt.Printf("%d of %d components have no compatible license\n", incompatible, len(bom.Components))
		os.Exit(1)
	}
	fmt.Printf("all %d components have a compatible license\n", len(bom.Components))
}
