package mollymawk

import "strings"

// checkFlag refuses what Mollymawk's bool_of_string raises an exception for.
func checkFlag(value string) (string, error) {
	if value != "true" && value != "false" {
		return "", invalid("Write true or false.")
	}
	return value, nil
}

// checkConfig checks a field that holds JSON.
func checkConfig(value string) (string, error) {
	if strings.TrimSpace(value) == "" {
		return "", invalid("The JSON is missing.")
	}
	return value, checkJSON([]byte(value))
}

// withType gives the configuration of a unikernel the type that clients of 2025 leave out,
// and leaves the rest as it is.
func withType(value string) (string, error) {
	if _, err := checkConfig(value); err != nil {
		return "", err
	}
	members, ok := parseObject([]byte(value))
	if !ok || members.index("typ") >= 0 {
		return value, nil // what isn't an object is Mollymawk's to refuse
	}
	space, rest, _ := strings.Cut(value, "{")
	typ := `{"typ":"solo5"`
	if len(members) > 0 {
		typ += ","
	}
	return space + typ + rest, nil
}
