/* A module that says which word it was given. */
#include <linux/init.h>
#include <linux/module.h>

static char *word = "none";
module_param(word, charp, 0444);

static int __init together_init(void) { return 0; }
static void __exit together_exit(void) { }

module_init(together_init);
module_exit(together_exit);
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
