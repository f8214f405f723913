// SPDX-License-Identifier: Apache-2.0

// ask VERSION-DIRECTORY QUESTION...: asks all questions at once and prints the answers in their order.
//
//	go run ask.go ~/llmosfs/smollm2 "What is the capital of Japan?" "Who wrote Hamlet?"
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// ask opens a conversation of its own, which is what a descriptor for reading and writing is.
func ask(directory, question string) (string, error) {
	prompt, err := os.OpenFile(filepath.Join(directory, "prompt"), os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer prompt.Close()
	if _, err := io.WriteString(prompt, question); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(prompt)
	return string(answer), err
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: ask VERSION-DIRECTORY QUESTION...")
		os.Exit(2)
	}
	directory, questions := os.Args[1], os.Args[2:]
	answers := make([]string, len(questions))
	errors := make([]error, len(questions))
	var all sync.WaitGroup
	for i := range questions {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			answers[i], errors[i] = ask(directory, questions[i])
		}(i)
	}
	all.Wait()
	for i, err := range errors {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(answers[i])
	}
}
