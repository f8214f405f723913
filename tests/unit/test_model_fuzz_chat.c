/* SPDX-License-Identifier: Apache-2.0 */
/* The fuzzer's target on all inputs that are kept for it: its own checks end the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/fuzz_chat.c" // NOLINT(bugprone-suspicious-include): the target itself
#include "tests/lib/replay.h"

static void test_corpus(void **state)
{
    (void)state;
    assert_true(replay("chat", LLVMFuzzerTestOneInput) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_corpus)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
