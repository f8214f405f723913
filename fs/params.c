/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params: one file for each parameter that was set.
 *
 * Only the names of parameters can be made here (EINVAL), and scratch files, which count for nothing: editors and
 * sed -i need them beside what they replace. A name is scratch if it begins with `.`, ends in `~`, or is made with
 * O_EXCL, as mkstemp(3) does: what a user mistypes in `echo 1 > params/temprature` is not. A scratch file that is
 * renamed to a parameter's name is checked then. Scratch files are listed, so that one that was left behind is seen.
 */
#include <string.h>

#include "fs/node.h"

static bool is_scratch(const char *name)
{
    size_t n = strlen(name);
    return name[0] == '.' || (n > 0 && name[n - 1] == '~');
}

static int params_admit(struct call *c, const struct node *dir, const char *name, mode_t type,
                        bool excl, uint32_t *role, struct err *e)
{
    (void)c;
    (void)dir;
    *role = ROLE_NONE;
    if (!S_ISREG(type))
        return err_set(e, EINVAL, "%s: params holds one file for each parameter", name);
    if (rt_param_known(name) || is_scratch(name) || excl)
        return 0;
    return err_set(e, EINVAL, "there is no parameter %s (.params lists them)", name);
}

static const struct node_ops *params_child(const struct node *dir, const char *name,
                                           const struct store_attr *a)
{
    (void)dir;
    return S_ISREG(a->mode) && rt_param_known(name) ? &value_ops : &file_ops;
}

static double params_timeout(const struct store_attr *a)
{
    (void)a;
    return 0;
}

const struct node_ops params_ops = {
    .kind = "params directory",
    .attr_timeout = TIMEOUT_LONG,
    .getattr = attr_stored,
    .child = params_child,
    .admit = params_admit,
    .entry_timeout = params_timeout,
};
