/* SPDX-License-Identifier: MIT */
/*
 * Asks Xen, by sysctls, and xenstore.
 *
 * One domain is asked for at a time: what follows the fields that are needed may
 * be longer in another Xen, and then a list of them would be misread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xenstore.h>

#include "sampler.h"
#include "../../../tmem/tmemctl/tmemctl.h"

#define INFO_BYTES 4096     /* more than any Xen writes of one domain */

static xencall_handle *xcall;
static struct xs_handle *store;
static struct xen_sysctl *sysctl;
static xen_domctl_getdomaininfo_t *info;

void xen_open_store(const char *root)
{
    (void)root;
    store = xs_open(0);
    if (!store)
        die("xenstore can't be reached");
}

bool xen_store(const char *path, const char *value)
{
    return xs_write(store, XBT_NULL, path, value, strlen(value));
}

void xen_open(const char *root)
{
    xcall = xencall_open(NULL, 0);
    if (!xcall)
        die("can't open /dev/xen/privcmd (is this dom0?)");
    xen_open_store(root);
    sysctl = xencall_alloc_buffer(xcall, sizeof(*sysctl));
    info = xencall_alloc_buffer(xcall, INFO_BYTES);
    if (!sysctl || !info)
        die("no memory for hypercall buffers");
}

static void ask(uint32_t cmd, const char *doing)
{
    sysctl->cmd = cmd;
    sysctl->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    if (xencall1(xcall, __HYPERVISOR_sysctl, (uintptr_t)sysctl) >= 0)
        return;
    if (errno == EACCES)
        die("%s: this hypervisor's sysctls are not of version %#x", doing, XEN_SYSCTL_INTERFACE_VERSION);
    die("%s", doing);
}

struct pages xen_pages(void)
{
    memset(sysctl, 0, sizeof(*sysctl));
    ask(XEN_SYSCTL_physinfo, "asking Xen for its free memory");

    return (struct pages){ sysctl->u.physinfo.total_pages, sysctl->u.physinfo.free_pages };
}

bool xen_freeable_pages(uint64_t *pages)
{
    struct xen_sysctl_tmem_op op = { .subop = TMEM_CONTROL_FREEABLE };
    bool there = tmem_control(xcall, &op) >= 0;

    *pages = there ? op.u.freeable.pages : 0;

    return there;
}

bool xen_domain(unsigned int first, struct domain *domain)
{
    memset(sysctl, 0, sizeof(*sysctl));
    sysctl->u.getdomaininfolist.first_domain = first;
    sysctl->u.getdomaininfolist.max_domains = 1;
    set_xen_guest_handle(sysctl->u.getdomaininfolist.buffer, info);
    ask(XEN_SYSCTL_getdomaininfolist, "asking Xen for its domains");
    if (!sysctl->u.getdomaininfolist.num_domains)
        return false;
    domain->id = info->domain;
    domain->cpu_ns = info->cpu_time;
    domain->pages = info->tot_pages;
    domain->dying = info->flags & XEN_DOMINF_dying;
    memcpy(domain->handle, info->handle, sizeof(domain->handle));

    return true;
}

char *xen_name(unsigned int id)
{
    char path[64];
    unsigned int length;

    snprintf(path, sizeof(path), "/local/domain/%u/name", id);

    return xs_read(store, XBT_NULL, path, &length);
}

char *xen_tmem(const char **refused)
{
    struct reading reading;
    char *text = NULL;
    size_t length;
    FILE *out;

    *refused = tmem_read(xcall, &reading, true);
    if (*refused)
        return NULL;
    out = open_memstream(&text, &length);
    if (out) {
        print_json(out, &reading);
        if (fclose(out) == 0 && length && text[length - 1] == '\n')
            text[length - 1] = '\0';
    } else {
        *refused = "no memory for tmem's counters";
    }
    tmem_free(&reading);

    return text;
}
