package environment

import "flag"

// Arguments reads flags that stand anywhere among a script's other arguments, such as an environment's name, and returns those.
func Arguments(flags *flag.FlagSet, args []string) (names []string, err error) {
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if args = flags.Args(); len(args) > 0 {
			names, args = append(names, args[0]), args[1:]
		}
	}
	return names, nil
}
