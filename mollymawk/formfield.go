package mollymawk

import "strings"

// checkFlag refuses values that make Mollymawk's bool_of_string raise an exception.
func checkFlag(value string) (string, error) {
	if value != "true" && value != "false" {
		return "", invalid("Use true or false.")
	}
	return value, nil
}

// checkConfig checks a field that contains JSON.
func checkConfig(value string) (string, error) {
	if strings.TrimSpace(value) == "" {
		return "", invalid("The JSON is missing.")
	}
	return value, checkJSON([]byte(value))
}

// withType adds the typ member to a unikernel's configuration if typ is missing. Clients
// written for generation2025 don't send it.
func withType(value string) (string, error) {
	if _, err := checkConfig(value); err != nil {
		return "", err
	}
	members, ok := parseObject([]byte(value))
	if !ok || members.index("typ") >= 0 {
		return value, nil // Mollymawk refuses anything but an object
	}
	space, rest, _ := strings.Cut(value, "{")
	typ := `{"typ":"solo5"`
	if len(members) > 0 {
		typ += ","
	}
	return space + typ + rest, nil
}
